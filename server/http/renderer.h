#ifndef OLMOE_SERVER_HTTP_RENDERER_H_
#define OLMOE_SERVER_HTTP_RENDERER_H_

#include <deque>
#include <functional>
#include <list>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "server/http/message.h"

namespace olmoe::http {

// A text as it is sent: as it is, or with Content-Encoding: gzip.
struct PackedText {
  Body plain;
  Body gzip;
};

// Answers with the form of `text` that the client takes; only that one need be there.
Response PackedResponse(const PackedText& text, bool gzip, const char* type);

// Makes texts that take a while (metrics, JSON) on a thread of its own, each once for all who ask
// for it before it is begun: whoever asks gets what holds then, and a thousand who ask at once cost
// as much as one. Thread-safe.
class Renderer {
 public:
  // What a text is made by, and those who wait for it.
  class Page {
   public:
    Page(std::function<std::string()> render, const char* type, Fields fields)
        : render_(std::move(render)), type_(type), fields_(std::move(fields)) {}

   private:
    friend class Renderer;
    struct Waiting {
      bool gzip;
      Reply reply;
    };
    void Answer(const std::vector<Waiting>& waiting) const;

    const std::function<std::string()> render_;
    const char* const type_;
    const Fields fields_;  // of its answers
    std::vector<Waiting> waiting_;  // guarded by the renderer's mu_
  };

  // Errors: RESOURCE_EXHAUSTED where the machine gives no thread.
  static absl::StatusOr<std::unique_ptr<Renderer>> Start();
  // What is under way is finished, what waits is dropped: the replies say 500.
  ~Renderer();

  // Lives as long as the renderer.
  Page* AddPage(std::function<std::string()> render, const char* type, Fields fields);
  // Makes the page for this client (of gzip or not) and whoever else waits.
  void Answer(Page* page, bool gzip, Reply reply);

 private:
  Renderer() = default;
  void Loop();

  absl::Mutex mu_;
  std::list<Page> pages_ ABSL_GUARDED_BY(mu_);
  std::deque<Page*> asked_ ABSL_GUARDED_BY(mu_);  // that somebody waits for
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  std::thread thread_;
};

// Answers GET of `path` with what `render` gives, which runs on the renderer's thread.
Route RenderedRoute(const std::shared_ptr<Renderer>& renderer, std::string path,
                    std::function<std::string()> render, const char* type, Fields fields = {});

}  // namespace olmoe::http

#endif  // OLMOE_SERVER_HTTP_RENDERER_H_
