#include "server/http/renderer.h"

#include <algorithm>
#include <exception>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "glog/logging.h"
#include "server/http/metrics_text.h"

namespace olmoe::http {

Response PackedResponse(const PackedText& text, bool gzip, const char* type) {
  Response response;
  response.fields = {{"Content-Type", type}, {"Vary", "Accept-Encoding"}};
  if (gzip) response.fields.emplace_back("Content-Encoding", "gzip");
  response.body = gzip ? text.gzip : text.plain;
  return response;
}

void Renderer::Page::Answer(const std::vector<Waiting>& waiting) const {
  const auto takes_gzip = [](const Waiting& one) { return one.gzip; };
  PackedText text;
  text.plain = std::make_shared<const std::string>(render_());
  if (std::any_of(waiting.begin(), waiting.end(), takes_gzip)) {
    text.gzip = std::make_shared<const std::string>(Gzip(*text.plain));
  }
  for (const Waiting& one : waiting) {
    Response response = PackedResponse(text, one.gzip, type_);
    response.fields.insert(response.fields.end(), fields_.begin(), fields_.end());
    one.reply.Send(std::move(response));
  }
}

absl::StatusOr<std::unique_ptr<Renderer>> Renderer::Start() {
  std::unique_ptr<Renderer> renderer(new Renderer);
  try {
    renderer->thread_ = std::thread([renderer = renderer.get()] { renderer->Loop(); });
  } catch (const std::system_error& error) {
    return absl::ResourceExhaustedError(
        absl::StrCat("cannot start a thread for the metrics: ", error.what()));
  }
  return renderer;
}

Renderer::~Renderer() {
  {
    absl::MutexLock lock(&mu_);
    stopping_ = true;
  }
  if (thread_.joinable()) thread_.join();
}

Renderer::Page* Renderer::AddPage(std::function<std::string()> render, const char* type,
                                  Fields fields) {
  absl::MutexLock lock(&mu_);
  return &pages_.emplace_back(std::move(render), type, std::move(fields));
}

void Renderer::Answer(Page* page, bool gzip, Reply reply) {
  absl::MutexLock lock(&mu_);
  page->waiting_.push_back({gzip, std::move(reply)});
  if (page->waiting_.size() == 1) asked_.push_back(page);
}

void Renderer::Loop() {
  for (;;) {
    Page* page = nullptr;
    std::vector<Page::Waiting> waiting;
    {
      absl::MutexLock lock(&mu_);
      mu_.Await(absl::Condition(
          +[](Renderer* self) ABSL_EXCLUSIVE_LOCKS_REQUIRED(self->mu_) {
            return self->stopping_ || !self->asked_.empty();
          },
          this));
      if (stopping_) return;
      page = asked_.front();
      asked_.pop_front();
      waiting.swap(page->waiting_);
    }
    try {
      page->Answer(waiting);
    } catch (const std::exception& error) {  // the replies that are dropped say 500
      LOG_EVERY_T(ERROR, 10) << "HTTP: " << error.what();
    }
  }
}

Route RenderedRoute(const std::shared_ptr<Renderer>& renderer, std::string path,
                    std::function<std::string()> render, const char* type, Fields fields) {
  Renderer::Page* page = renderer->AddPage(std::move(render), type, std::move(fields));
  return {.method = "GET",
          .path = std::move(path),
          .handler = [renderer, page](const Request& request, Reply reply) {
            renderer->Answer(page, TakesGzip(request.Header("Accept-Encoding")), std::move(reply));
          }};
}

}  // namespace olmoe::http
