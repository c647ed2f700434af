#include "server/experiment/named_items.h"

#include <utility>

namespace olmoe::experiment {
namespace {

using NamesOf = std::function<routing::Names(const routing::PlanSpec&)>;

// Those that come back, one after the other, as times to live end. A plan that can not be
// found any more is not needed either: the model's own routing comes back then.
void AddFallbacks(const routing::RoutingController& controller, const NamesOf& names_of,
                  routing::Names* names) {
  routing::PlanRecord record = *controller.CurrentRecord();
  while (record.has_ttl() && record.older_fallback() > 0) {
    absl::StatusOr<routing::PlanRecord> fallback =
        controller.history().Find(record.older_fallback());
    if (!fallback.ok()) return;
    record = *std::move(fallback);
    names->merge(names_of(record.spec));
  }
}

}  // namespace

routing::Names NamesInUse(const Serving& serving, const NamesOf& names_of) {
  routing::Names names = names_of(serving.controller->slot().Current()->spec());
  for (const routing::DrainingPlan& old : serving.controller->slot().Draining()) {
    names.merge(names_of(old.plan->spec()));
  }
  AddFallbacks(*serving.controller, names_of, &names);
  return names;
}

}  // namespace olmoe::experiment
