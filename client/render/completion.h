#ifndef OLMOE_CLIENT_RENDER_COMPLETION_H_
#define OLMOE_CLIENT_RENDER_COMPLETION_H_

#include <string>
#include <string_view>

namespace CLI {
class App;
}

namespace olmoe::client::render {

// A completion script made from the commands and flags of `app`, so that it is
// never out of date. `shell`: "bash", "zsh" or "fish".
std::string CompletionScript(const CLI::App& app, std::string_view shell);

}  // namespace olmoe::client::render

#endif  // OLMOE_CLIENT_RENDER_COMPLETION_H_
