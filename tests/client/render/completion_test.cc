#include "client/render/completion.h"

#include "CLI/App.hpp"
#include "CLI/Config.hpp"
#include "CLI/Formatter.hpp"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace olmoe::client::render {
namespace {

using ::testing::HasSubstr;

// An application with a flag of every sort.
class CompletionScriptTest : public ::testing::Test {
 protected:
  CompletionScriptTest() {
    app_.add_option("--server", server_, "it's [here]: there");
    CLI::App* paint = app_.add_subcommand("paint", "Paint it");
    paint->add_option("-c,--color", color_)->check(CLI::IsMember({"red", "blue"}));
    paint->add_flag("--twice", twice_);
    CLI::App* store = app_.add_subcommand("store", "Cans");
    store->add_subcommand("put", "In")
        ->add_option("--size", size_)
        ->check(CLI::IsMember({"small", "large"}));
    store->add_subcommand("list", "All");
    paint->add_option("--arm", size_)->type_name("ARM");
    paint->add_option("--secret", size_)->group("");
    app_.add_subcommand("hidden", "")->group("");
    app_.add_subcommand("back", "")->add_option("to", size_)->type_name("GENERATION");
    paint->add_option("brush", brush_)->check(CLI::IsMember({"wide", "fine"}));
  }
  std::string server_, color_, brush_, size_;
  bool twice_ = false;
  CLI::App app_{"", "tool"};
};

TEST_F(CompletionScriptTest, BashKnowsCommandsFlagsAndValues) {
  const std::string script = CompletionScript(app_, "bash");
  EXPECT_THAT(script, HasSubstr("complete -o default -F _tool tool"));
  EXPECT_THAT(script, HasSubstr("'') words=\"paint store back\""));
  EXPECT_THAT(script, HasSubstr("paint) words=\"-h --help -c --color --twice --arm wide fine\""));
  EXPECT_THAT(script, HasSubstr("paint:--arm) words=\"$(_olmoectl_names arms)\""));
  EXPECT_THAT(script, HasSubstr("back) words=\"-h --help $(_olmoectl_names generations)\""));
  EXPECT_THAT(script, ::testing::Not(HasSubstr("secret")));
  EXPECT_THAT(script, ::testing::Not(HasSubstr("hidden")));
  EXPECT_THAT(script, HasSubstr("paint:--color) words=\"red blue\""));
  EXPECT_THAT(script, HasSubstr("*:--server) return"));
}

TEST_F(CompletionScriptTest, CommandsBelowACommandAreKnownToEveryShell) {
  const std::string bash = CompletionScript(app_, "bash");
  EXPECT_THAT(bash, HasSubstr("\" paint\"|\" store\"|\"store put\"|\"store list\"|\" back\")"));
  EXPECT_THAT(bash, HasSubstr("store) words=\"put list -h --help\""));
  EXPECT_THAT(bash, HasSubstr("\"store put\") words=\"-h --help --size\""));
  EXPECT_THAT(bash, HasSubstr("\"store put\":--size) words=\"small large\""));
  const std::string zsh = CompletionScript(app_, "zsh");
  EXPECT_THAT(zsh, HasSubstr("'1:command:(put list)'"));
  EXPECT_THAT(zsh, HasSubstr("'*--size[]:value:(small large)'"));
  EXPECT_THAT(zsh, ::testing::Not(HasSubstr("store put")));
  const std::string fish = CompletionScript(app_, "fish");
  EXPECT_THAT(fish, HasSubstr("-n '__fish_seen_subcommand_from store' -f -a put -d 'In'\n"));
  EXPECT_THAT(fish, HasSubstr("'__fish_seen_subcommand_from store; and "
                              "__fish_seen_subcommand_from put' -l size -x -a 'small large'"));
}

TEST_F(CompletionScriptTest, ZshEscapesWhatItWouldInterpret) {
  const std::string script = CompletionScript(app_, "zsh");
  EXPECT_THAT(script, HasSubstr("'*--server[it'\\''s \\[here\\]\\: there]:value:_files'"));
  EXPECT_THAT(script, HasSubstr("'*--color[]:value:(red blue)'"));
  EXPECT_THAT(script, HasSubstr("'*--twice[]'"));
  EXPECT_THAT(script, HasSubstr("'*--arm[]:value:{compadd -- $(olmoectl complete-names arms"));
}

TEST_F(CompletionScriptTest, FishEscapesWhatItWouldInterpret) {
  const std::string script = CompletionScript(app_, "fish");
  EXPECT_THAT(script, HasSubstr("-l server -r -d 'it\\'s [here]: there'\n"));
  EXPECT_THAT(script, HasSubstr("'__fish_seen_subcommand_from paint' -l color -s c -x "
                                "-a 'red blue'"));
  EXPECT_THAT(script, HasSubstr("-l arm -x -a '(olmoectl complete-names arms (commandline -c) "
                                "2>/dev/null)'"));
}

}  // namespace
}  // namespace olmoe::client::render
