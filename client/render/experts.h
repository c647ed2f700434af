// Expert statistics as a heat map, a table or CSV.
#ifndef OLMOE_CLIENT_RENDER_EXPERTS_H_
#define OLMOE_CLIENT_RENDER_EXPERTS_H_

#include <string>
#include <vector>

#include "client/render/expert_stats.h"
#include "client/render/style.h"
#include "olmoe/v1/admin.pb.h"

namespace olmoe::client::render {

// On whose decisions these are: arm and policy, then tokens and mean k.
std::string DecisionHeading(const v1::ArmExpertStats& stats, const Style& style);

// The heading, then layers x experts: the load of each
// expert over the even share, with mean k and the largest load of each layer.
std::string RenderExpertMap(const v1::ArmExpertStats& stats, const Style& style);
// What the signs or colours of the map mean; one line below all maps.
std::string RenderLoadLegend(const Style& style);

// One row a layer.
std::string RenderExpertTable(const v1::ArmExpertStats& stats, const Style& style);

// A line of names, then one line for each arm, kind, phase, layer and expert.
std::string ExpertCsv(const std::vector<v1::ArmExpertStats>& arms);

}  // namespace olmoe::client::render

#endif  // OLMOE_CLIENT_RENDER_EXPERTS_H_
