#include "client/render/table.h"

#include "gtest/gtest.h"

namespace olmoe::client::render {
namespace {

TEST(Table, ColumnsAreAlignedByCharacters) {
  Table table({{"NAME"}, {"N", Table::Align::kRight}, {"NOTE"}});
  table.AddRow({"caf\xc3\xa9", "7", "x"});
  table.AddRow({"a", "123", ""});
  EXPECT_EQ(table.Render(Style()),
            "NAME    N  NOTE\n"
            "caf\xc3\xa9    7  x\n"
            "a     123\n");
}

TEST(Table, WithoutTitlesThereIsNoHeading) {
  Table table({{""}, {""}});
  table.AddRow({"layers", "16"});
  EXPECT_EQ(table.Render(Style()), "layers  16\n");
}

TEST(Table, OnlyTheHeadingIsColoured) {
  Table table({{"A"}});
  table.AddRow({"x"});
  EXPECT_EQ(table.Render(Style(/*color=*/true)), "\x1b[1mA\x1b[0m\nx\n");
}

}  // namespace
}  // namespace olmoe::client::render
