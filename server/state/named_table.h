#ifndef OLMOE_SERVER_STATE_NAMED_TABLE_H_
#define OLMOE_SERVER_STATE_NAMED_TABLE_H_

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "server/state/sqlite.h"

namespace olmoe::state {

// What a routing::NamedSet has, in two tables: a row for each item, and a row for each of its
// layers, every value bit for bit, so a digest is the same after a restart. Every change is one
// transaction. Thread-safe.
//
// `Rows` says what the rows are: the statements, whose columns begin with the name (of a layer's
// row then the layer, of an item's the digest), and how the other columns are bound and read.
template <class Rows>
class NamedTable {
 public:
  using Item = typename Rows::Item;

  explicit NamedTable(Database* database) : database_(database) {}

  // Durable when it returns OK; on an error nothing has changed. A name that is there is
  // replaced: whether it may be is for routing::NamedSet to say.
  absl::Status Put(const Item& item) {
    return InTransaction([&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(database_->mu()) {
      const absl::Status status = DeleteRows(item.name());
      return status.ok() ? InsertRows(item) : status;
    });
  }

  // Not there: OK.
  absl::Status Delete(std::string_view name) {
    return InTransaction(
        [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(database_->mu()) { return DeleteRows(name); });
  }

  // By name, ascending. DATA_LOSS where one does not have its digest.
  absl::StatusOr<std::vector<std::shared_ptr<const Item>>> LoadAll() const {
    absl::MutexLock lock(&database_->mu());
    absl::StatusOr<Statement> select = database_->Prepare(Rows::kSelect);
    if (!select.ok()) return select.status();
    std::vector<std::shared_ptr<const Item>> items;
    while (true) {
      const absl::StatusOr<bool> row = select->Step();
      if (!row.ok()) return row.status();
      if (!*row) return items;
      typename Item::Options options = Rows::Read(*select);
      const std::string name = select->Bytes(0);
      if (absl::Status status = LoadLayers(name, &options); !status.ok()) return status;
      auto item = Item::Create(std::move(options));
      if (!item.ok() || (*item)->digest() != select->Bytes(1)) return Damaged(name);
      items.push_back(*std::move(item));
    }
  }

 private:
  static absl::Status Damaged(const std::string& name) {
    return absl::DataLossError(absl::StrCat("the stored ", Item::kKind, " ", name, " is damaged"));
  }

  template <class Change>
  absl::Status InTransaction(const Change& change) {
    absl::MutexLock lock(&database_->mu());
    Transaction transaction(database_);
    if (absl::Status status = transaction.Begin(); !status.ok()) return status;
    if (absl::Status status = change(); !status.ok()) return status;
    return transaction.Commit();
  }

  absl::Status InsertRows(const Item& item) ABSL_EXCLUSIVE_LOCKS_REQUIRED(database_->mu()) {
    absl::StatusOr<Statement> insert = database_->Prepare(Rows::kInsert);
    if (!insert.ok()) return insert.status();
    insert->BindText(1, item.name());
    insert->BindText(2, item.digest());
    Rows::Bind(item, &*insert);
    if (absl::Status status = insert->Run(); !status.ok()) return status;
    absl::StatusOr<Statement> insert_layer = database_->Prepare(Rows::kInsertLayer);
    if (!insert_layer.ok()) return insert_layer.status();
    for (const auto& [layer, content] : Rows::LayersOf(item)) {
      insert_layer->BindText(1, item.name());
      insert_layer->BindInt(2, layer);
      Rows::BindLayer(content, &*insert_layer);
      if (absl::Status status = insert_layer->Run(); !status.ok()) return status;
      insert_layer->Reset();
    }
    return absl::OkStatus();
  }

  absl::Status DeleteRows(std::string_view name) ABSL_EXCLUSIVE_LOCKS_REQUIRED(database_->mu()) {
    absl::StatusOr<Statement> remove = database_->Prepare(Rows::kDelete);
    if (!remove.ok()) return remove.status();
    remove->BindText(1, name);
    return remove->Run();
  }

  absl::Status LoadLayers(const std::string& name, typename Item::Options* options) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(database_->mu()) {
    absl::StatusOr<Statement> select = database_->Prepare(Rows::kSelectLayers);
    if (!select.ok()) return select.status();
    select->BindText(1, name);
    while (true) {
      const absl::StatusOr<bool> row = select->Step();
      if (!row.ok()) return row.status();
      if (!*row) return absl::OkStatus();
      if (!Rows::ReadLayer(*select, options)) return Damaged(name);
    }
  }

  Database* const database_;
};

}  // namespace olmoe::state

#endif  // OLMOE_SERVER_STATE_NAMED_TABLE_H_
