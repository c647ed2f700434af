// What calibrations and routers have in common: found by name, and kept while a plan needs them.
#ifndef OLMOE_SERVER_EXPERIMENT_NAMED_ITEMS_H_
#define OLMOE_SERVER_EXPERIMENT_NAMED_ITEMS_H_

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "server/experiment/serving.h"
#include "server/routing/controller.h"
#include "server/routing/field_checks.h"
#include "server/routing/named_set.h"
#include "server/routing/named_use.h"
#include "server/util/status_details.h"

namespace olmoe::experiment {

// Those that the current plan names, by `names_of`, what replaces it when its time to live ends,
// and the plans that still have requests.
routing::Names NamesInUse(const Serving& serving,
                          const std::function<routing::Names(const routing::PlanSpec&)>& names_of);

// Errors: INVALID_ARGUMENT (field "<kind>_id") for what is no name, NOT_FOUND.
template <class Item>
absl::StatusOr<std::shared_ptr<const Item>> FindItem(const routing::NamedSet<Item>& items,
                                                     const std::string& name) {
  std::vector<FieldViolation> violations;
  routing::CheckLongName(name, absl::StrCat(Item::kKind, "_id"), &violations);
  if (!violations.empty()) return InvalidFields(violations);
  auto item = items.Find(name);
  if (item == nullptr) return routing::NamedSet<Item>::NoSuch(name);
  return item;
}

// Between two patches, so that no plan can begin to name it meanwhile. May wait for a patch and for
// a disk. Errors: those of FindItem; FAILED_PRECONDITION (<KIND>_IN_USE); those of the set's hooks.
template <class Item>
absl::Status DeleteItem(routing::NamedSet<Item>* items, const std::string& name,
                        const Serving& serving,
                        const std::function<routing::Names(const routing::PlanSpec&)>& names_of) {
  if (const auto found = FindItem(*items, name); !found.ok()) return found.status();
  return serving.controller->BetweenPatches([&] {
    if (!NamesInUse(serving, names_of).contains(name)) return items->Remove(name);
    return WithPrecondition(
        absl::FailedPreconditionError(absl::StrCat(
            Item::kKind, " \"", name,
            "\" is in use: the current plan names it, or one that still has requests or comes "
            "back when a time to live ends")),
        absl::StrCat(absl::AsciiStrToUpper(Item::kKind), "_IN_USE"),
        absl::StrCat(Item::kKind, "s/", name));
  });
}

}  // namespace olmoe::experiment

#endif  // OLMOE_SERVER_EXPERIMENT_NAMED_ITEMS_H_
