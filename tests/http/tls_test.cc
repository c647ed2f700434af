#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/pem.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "absl/synchronization/notification.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/access/openssl_handles.h"
#include "server/access/tls_files.h"
#include "server/http/http_server.h"
#include "tests/http/raw_client.h"
#include "tests/support/temp_folder.h"
#include "tests/support/test_certificates.h"

namespace olmoe::http {
namespace {

using access::Certificate;
using access::Context;
using access::Freed;
using access::Key;
using access::Reader;
using ::testing::EndsWith;
using testing::GetRequest;
using ::testing::HasSubstr;
using testing::RawClient;
using ::testing::StartsWith;
using testing::TestAuthority;
using testing::TestIdentity;

// A blocking client that trusts `authority`, with a certificate of its own where it has one.
class TlsClient {
 public:
  TlsClient(int port, const TestAuthority& authority, const TestIdentity* identity = nullptr)
      : fd_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)),
        context_(SSL_CTX_new(TLS_client_method())) {
    sockaddr_in to = {};
    to.sin_family = AF_INET;
    to.sin_port = htons(static_cast<uint16_t>(port));
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(connect(fd_, reinterpret_cast<const sockaddr*>(&to), sizeof(to)), 0);
    const timeval patience = {10, 0};
    setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    const Certificate trusted(
        PEM_read_bio_X509(Reader(authority.certificate()).get(), nullptr, nullptr, nullptr));
    X509_STORE_add_cert(SSL_CTX_get_cert_store(context_.get()), trusted.get());
    SSL_CTX_set_verify(context_.get(), SSL_VERIFY_PEER, nullptr);
    if (identity != nullptr) Use(*identity);
    ssl_.reset(SSL_new(context_.get()));
    SSL_set_fd(ssl_.get(), fd_);
    connected_ = SSL_connect(ssl_.get()) == 1;
  }
  ~TlsClient() {
    ssl_.reset();
    close(fd_);
  }

  bool connected() const { return connected_; }
  bool Send(std::string_view bytes) {
    return SSL_write(ssl_.get(), bytes.data(), static_cast<int>(bytes.size())) > 0;
  }
  // Until what was received ends so, or nothing more comes.
  std::string ReadUntil(std::string_view end) {
    std::string text;
    char piece[16 << 10];
    while (!std::string_view(text).ends_with(end)) {
      const int size = SSL_read(ssl_.get(), piece, sizeof(piece));
      if (size <= 0) break;
      text.append(piece, static_cast<size_t>(size));
    }
    return text;
  }
  // Of the server.
  std::string CommonName() {
    const Certificate certificate(SSL_get1_peer_certificate(ssl_.get()));
    char name[64] = "";
    X509_NAME_get_text_by_NID(X509_get_subject_name(certificate.get()), NID_commonName, name,
                              sizeof(name));
    return name;
  }
  bool SaysBye() { return SSL_shutdown(ssl_.get()) >= 0; }

 private:
  void Use(const TestIdentity& identity) {
    const Certificate own(
        PEM_read_bio_X509(Reader(identity.certificate).get(), nullptr, nullptr, nullptr));
    const Key key(PEM_read_bio_PrivateKey(Reader(identity.key).get(), nullptr, nullptr, nullptr));
    SSL_CTX_use_certificate(context_.get(), own.get());
    SSL_CTX_use_PrivateKey(context_.get(), key.get());
  }

  const int fd_;
  const Context context_;
  std::unique_ptr<SSL, Freed<&SSL_free>> ssl_;
  bool connected_ = false;
};

class TlsTest : public ::testing::Test {
 protected:
  TlsTest() { WriteIdentity(authority_.Issue("first")); }

  void WriteIdentity(const TestIdentity& identity) {
    folder_.Write("cert", identity.certificate);
    folder_.Write("key", identity.key);
  }

  void Start(const std::string& client_ca = "", const ConnectionLimits& limits = {}) {
    HttpServer::Options options{.listener = net::Listener::Bind("127.0.0.1:0").value()};
    options.tls =
        access::TlsFiles::Open(
            {.cert = folder_.File("cert"), .key = folder_.File("key"), .client_ca = client_ca})
            .value();
    options.limits = limits;
    options.routes = {
        {"GET", "/small",
         [](const Request&, Reply reply) { reply.Send(TextResponse(200, "small", "text/plain")); }},
        {"GET", "/who",
         [](const Request& request, Reply reply) {
           reply.Send(TextResponse(200, request.principal + "!", "text/plain"));
         }},
        {"GET", "/large",
         [](const Request&, Reply reply) {
           std::string text(3 << 20, 'x');
           reply.Send(TextResponse(200, text.append("!"), "text/plain"));
         }},
        {"GET", "/stream", [this](const Request&, Reply reply) {
           Response response;
           response.stream = stream_;
           reply.Send(std::move(response));
         }}};
    server_ = HttpServer::Create(std::move(options)).value();
  }

  testing::TempFolder folder_;
  const TestAuthority authority_{"authority"};
  absl::Notification gone_;
  const std::shared_ptr<Stream> stream_ = std::make_shared<Stream>([this] { gone_.Notify(); });
  std::unique_ptr<HttpServer> server_;
};

TEST_F(TlsTest, RequestsAreAnsweredOnAKeptConnection) {
  Start();
  TlsClient client(server_->port(), authority_);
  ASSERT_TRUE(client.connected());
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(client.Send(GetRequest("/small")));
    EXPECT_THAT(client.ReadUntil("small"), StartsWith("HTTP/1.1 200 OK\r\n"));
  }
  ASSERT_TRUE(client.Send(GetRequest("/large", "Connection: close\r\n")));
  EXPECT_GT(client.ReadUntil("!").size(), 3u << 20);
  EXPECT_EQ(client.ReadUntil("more"), "");
}

TEST_F(TlsTest, NewConnectionsHaveTheNewCertificateAndOldOnesGoOn) {
  Start();
  TlsClient old(server_->port(), authority_);
  EXPECT_EQ(old.CommonName(), "first");
  WriteIdentity(authority_.Issue("second"));
  TlsClient client(server_->port(), authority_);
  EXPECT_EQ(client.CommonName(), "second");
  ASSERT_TRUE(old.Send(GetRequest("/small")));
  EXPECT_THAT(old.ReadUntil("small"), EndsWith("small"));
}

TEST_F(TlsTest, WhereClientsNeedACertificateOthersAreRefused) {
  Start(folder_.Write("ca", authority_.certificate()));
  const TestIdentity good = authority_.Issue("client"),
                     bad = TestAuthority("other").Issue("client");
  const auto answer_to = [&](const TestIdentity* identity) {
    TlsClient client(server_->port(), authority_, identity);
    client.Send(GetRequest("/small"));  // with TLS 1.3 the client learns of it by reading
    return client.ReadUntil("small");
  };
  EXPECT_EQ(answer_to(nullptr), "");
  EXPECT_EQ(answer_to(&bad), "");
  EXPECT_THAT(answer_to(&good), EndsWith("small"));
}

TEST_F(TlsTest, AHandlerLearnsTheNameInTheCertificate) {
  Start(folder_.Write("ca", authority_.certificate()));
  const TestIdentity identity = authority_.Issue("ann");
  TlsClient client(server_->port(), authority_, &identity);
  ASSERT_TRUE(client.Send(GetRequest("/who")));
  EXPECT_THAT(client.ReadUntil("!"), EndsWith("ann!"));
}

TEST_F(TlsTest, WhoDoesNotGetThroughTheHandshakeIsCutOff) {
  Start("", {.handshake = std::chrono::milliseconds(100)});
  RawClient silent(server_->port()), half(server_->port()), plain(server_->port());
  half.Send("\x16\x03\x01");
  plain.Send(GetRequest("/small"));
  for (RawClient* client : {&silent, &half, &plain}) {
    std::string rest;
    EXPECT_TRUE(client->ReadToEnd(&rest));
    EXPECT_THAT(rest, ::testing::Not(HasSubstr("HTTP")));
  }
}

TEST_F(TlsTest, AStreamArrivesAndTheNextRequestAfterIt) {
  Start();
  TlsClient client(server_->port(), authority_);
  ASSERT_TRUE(client.Send(GetRequest("/stream")));
  client.ReadUntil("\r\n\r\n");
  stream_->Push("one");
  EXPECT_EQ(client.ReadUntil("one\r\n"), "3\r\none\r\n");
  ASSERT_TRUE(client.Send(GetRequest("/small")));  // while the stream is under way
  stream_->Push("two");
  EXPECT_EQ(client.ReadUntil("two\r\n"), "3\r\ntwo\r\n");
  stream_->Finish();
  EXPECT_THAT(client.ReadUntil("small"), StartsWith("0\r\n\r\nHTTP/1.1 200"));
  ASSERT_TRUE(client.Send(GetRequest("/small")));
  EXPECT_THAT(client.ReadUntil("small"), EndsWith("small"));
}

TEST_F(TlsTest, TheClientOfASilentStreamIsSeenToGo) {
  Start();
  TlsClient client(server_->port(), authority_);
  ASSERT_TRUE(client.Send(GetRequest("/stream")));
  client.ReadUntil("\r\n\r\n");
  EXPECT_TRUE(client.SaysBye());
  gone_.WaitForNotification();
}

TEST_F(TlsTest, StopEndsConnectionsInEachPhase) {
  Start();
  RawClient in_handshake(server_->port());
  TlsClient idle(server_->port(), authority_), streaming(server_->port(), authority_);
  ASSERT_TRUE(streaming.Send(GetRequest("/stream")));
  streaming.ReadUntil("\r\n\r\n");
  server_->Stop();
  EXPECT_TRUE(gone_.HasBeenNotified());
  EXPECT_EQ(idle.ReadUntil("more"), "");
  EXPECT_TRUE(in_handshake.ReadToEnd());
}

}  // namespace
}  // namespace olmoe::http
