#include "server/http/request_parser.h"

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

namespace olmoe::http {
namespace {

using State = RequestParser::State;

constexpr uint64_t kBodyLimit = 1000;

// Feeds `bytes` in pieces, as a connection does, until the parser has enough. Returns how much it
// took. A header that is there has its body limit set.
size_t FeedAll(RequestParser* parser, std::string_view bytes, size_t piece) {
  size_t taken = 0, given = 0;
  bool limited = false;
  while (parser->state() == State::kHeader || parser->state() == State::kBody) {
    const bool fresh = given > taken && parser->state() == State::kBody && !limited;
    if (!fresh && given == bytes.size()) break;
    if (!fresh) given = std::min(bytes.size(), given + piece);
    if (parser->state() == State::kBody && !limited) {
      parser->SetBodyLimit(kBodyLimit);
      limited = true;
      if (parser->state() == State::kFailed) break;
    }
    taken += parser->Feed(bytes.substr(taken, given - taken));
  }
  return taken;
}

// How the parser ends, and with which status, whether the bytes arrive together or not.
State Parse(const std::string& bytes, int* status) {
  RequestParser whole;
  FeedAll(&whole, bytes, bytes.size());
  *status = whole.error_status();
  for (const size_t piece : {1, 7}) {
    RequestParser parser;
    FeedAll(&parser, bytes, piece);
    // Where there is no end of the header, what is wrong with it may be noticed later.
    if (whole.state() == State::kFailed && parser.state() == State::kHeader) {
      RequestParser with_end;
      FeedAll(&with_end, bytes + "\r\n\r\n", piece);
      EXPECT_EQ(with_end.state(), State::kFailed) << "in pieces of " << piece << ": " << bytes;
      continue;
    }
    EXPECT_EQ(parser.state(), whole.state()) << "in pieces of " << piece << ": " << bytes;
    EXPECT_EQ(parser.error_status(), *status) << "in pieces of " << piece << ": " << bytes;
  }
  return whole.state();
}

// 0: there is none.
int ErrorOf(const std::string& bytes) {
  int status = 0;
  const State state = Parse(bytes, &status);
  EXPECT_EQ(state == State::kFailed, status != 0);
  return status;
}

State StateOf(const std::string& bytes) {
  int status = 0;
  return Parse(bytes, &status);
}

const char kChunked[] = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";

TEST(RequestParserTest, ARequestIsTakenApart) {
  RequestParser parser;
  const std::string bytes =
      "POST /a/b?c=d HTTP/1.1\r\nHost: x\r\nAccept-Encoding: br\r\naccept-encoding:gzip \r\n"
      "Content-Length: 5\r\n\r\nhelloGET";
  EXPECT_EQ(FeedAll(&parser, bytes, bytes.size()), bytes.size() - 3);
  ASSERT_EQ(parser.state(), State::kDone);
  EXPECT_EQ(parser.request().method, "POST");
  EXPECT_EQ(parser.request().path, "/a/b");
  EXPECT_EQ(parser.request().query, "c=d");
  EXPECT_EQ(parser.request().body, "hello");
  EXPECT_EQ(parser.request().Header("ACCEPT-encoding"), "br, gzip");
  EXPECT_EQ(parser.request().Header("Accept"), "");
  EXPECT_TRUE(parser.request().http11);
  EXPECT_TRUE(parser.keep_alive());
}

TEST(RequestParserTest, ItStopsAfterTheHeader) {
  RequestParser parser;
  const std::string header = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n";
  EXPECT_EQ(parser.Feed(header + "hello"), header.size());
  EXPECT_EQ(parser.state(), State::kBody);
  parser.SetBodyLimit(5);
  EXPECT_EQ(parser.Feed("hello"), 5u);
  EXPECT_EQ(parser.state(), State::kDone);
}

TEST(RequestParserTest, AProxysFormOfTheTargetIsTakenToo) {
  const auto path_of = [](const std::string& target) {
    RequestParser parser;
    parser.Feed("GET " + target + " HTTP/1.1\r\nHost: x\r\n\r\n");
    return parser.state() == State::kDone ? parser.request().path : "refused";
  };
  EXPECT_EQ(path_of("http://x:1/metrics?a"), "/metrics");
  EXPECT_EQ(path_of("http://x"), "/");
  EXPECT_EQ(path_of("*"), "*");
  EXPECT_EQ(path_of("metrics"), "refused");
  EXPECT_EQ(path_of("x:443"), "refused");
}

TEST(RequestParserTest, AConnectionIsKeptAsTheVersionAndTheClientSay) {
  const auto keeps = [](const std::string& rest) {
    RequestParser parser;
    parser.Feed("GET / HTTP/" + rest + "\r\nHost: x\r\n\r\n");
    EXPECT_EQ(parser.state(), State::kDone) << rest;
    return parser.keep_alive();
  };
  EXPECT_TRUE(keeps("1.1"));
  EXPECT_FALSE(keeps("1.1\r\nConnection: close"));
  EXPECT_FALSE(keeps("1.1\r\nConnection: x, Close"));
  EXPECT_FALSE(keeps("1.0"));
  EXPECT_TRUE(keeps("1.0\r\nConnection: keep-alive"));
}

TEST(RequestParserTest, ChunksAreJoinedAndTrailersDropped) {
  RequestParser parser;
  const std::string bytes = absl::StrCat(
      kChunked, "3;a=b\r\nabc\r\n2\r\nde\r\n0\r\nAuthorization: late\r\nHost: b\r\n\r\n", "rest");
  EXPECT_EQ(FeedAll(&parser, bytes, bytes.size()), bytes.size() - 4);
  ASSERT_EQ(parser.state(), State::kDone);
  EXPECT_EQ(parser.request().body, "abcde");
  EXPECT_EQ(parser.request().Header("Authorization"), "");
  EXPECT_EQ(StateOf(bytes.substr(0, bytes.size() - 4)), State::kDone);
}

// Whatever one server takes for this and another for that.
TEST(RequestParserTest, WhatIsAmbiguousIsRefused) {
  const std::string get = "GET / HTTP/1.1\r\nHost: a\r\n", post = "POST / HTTP/1.1\r\nHost: a\r\n";
  for (const std::string& bytes : std::vector<std::string>{
           "GET / HTTP/1.1\r\n\r\n",                                    // no Host
           get + "Host: b\r\n\r\n",                                     // two
           "GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n",              //
           post + "Content-Length: 5\r\nContent-Length: 5\r\n\r\nabcde",  // two lengths
           post + "Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
           post + "Content-Length: 5, 5\r\n\r\nabcde",
           post + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
           post + "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
           post + "Content-Length: +5\r\n\r\nabcde",
           post + "Content-Length: -1\r\n\r\n",
           post + "Content-Length: 0x5\r\n\r\nabcde",
           post + "Content-Length: \r\n\r\n",
           post + "Content-Length: 99999999999999999999\r\n\r\n",
           post + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
           post + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
           post + "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
           post + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
           post + "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
           "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
           get + "X: a\r\n b\r\n\r\n",    // folded
           get + "X: a\r\n\tb\r\n\r\n",   //
           get + "X:\r\n b\r\n\r\n",      //
           get + "X:\r\n \r\n\r\n",       //
           get + " X: a\r\n\r\n",         //
           "GET / HTTP/1.1\nHost: a\n\n",  // bare LF
           get + "X: a\nY: b\r\n\r\n",
           get + "X: a\rY: b\r\n\r\n",
           "GET / HTTP/1.1\r\nHost: a\r\n\n\r\n\r\n",
           get + "X\r\n\r\n",
           get + ": a\r\n\r\n",
           get + "X y: a\r\n\r\n",
           get + "X: a\x01\r\n\r\n",
           get + "X: a" + std::string(1, '\0') + "b\r\n\r\n",
           "GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
           "GET /\t HTTP/1.1\r\nHost: a\r\n\r\n",
           "G\x01T / HTTP/1.1\r\nHost: a\r\n\r\n",
           "GET nothing HTTP/1.1\r\nHost: a\r\n\r\n",
           std::string(kChunked) + "5\nabcde\r\n0\r\n\r\n",
           std::string(kChunked) + "5\r\nabcdeXX0\r\n\r\n",
           std::string(kChunked) + "-1\r\n\r\n",
           std::string(kChunked) + "0x5\r\nabcde\r\n0\r\n\r\n",
           std::string(kChunked) + "5 abc\r\nabcde\r\n0\r\n\r\n",
           std::string(kChunked) + "fffffffffffffffff\r\n",
           std::string(kChunked) + "0\r\nContent-Length: 5\r\n\r\n",
           "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  // TLS
       }) {
    EXPECT_EQ(ErrorOf(bytes), 400) << bytes;
  }
}

TEST(RequestParserTest, OtherVersionsAreRefused) {
  for (const char* version : {"HTTP/2.0", "HTTP/0.9", "HTTP/1.2", "http/1.1", "HTTP/1.1 "}) {
    EXPECT_EQ(ErrorOf(absl::StrCat("GET / ", version, "\r\nHost: a\r\n\r\n")), 400) << version;
  }
}

TEST(RequestParserTest, HeadersAreBounded) {
  const std::string begin = "GET / HTTP/1.1\r\nHost: a\r\n";
  const auto fields = [](size_t count, size_t size) {
    std::string text;
    for (size_t i = 0; i < count; ++i) {
      absl::StrAppend(&text, "X: ", std::string(size, 'x'), "\r\n");
    }
    return text;
  };
  constexpr size_t kMax = RequestParser::kMaxHeaderBytes;
  EXPECT_EQ(ErrorOf(begin + fields(RequestParser::kMaxFields - 1, 1) + "\r\n"), 0);
  EXPECT_EQ(ErrorOf(begin + fields(RequestParser::kMaxFields, 1) + "\r\n"), 431);
  EXPECT_EQ(ErrorOf(begin + fields(30, 400) + "\r\n"), 0);
  EXPECT_EQ(ErrorOf(begin + fields(60, 400)), 431);
  EXPECT_EQ(ErrorOf(begin + fields(1, kMax)), 431);
  EXPECT_EQ(ErrorOf(begin + "X: " + std::string(kMax, 'x')), 431);   // a value
  EXPECT_EQ(ErrorOf(begin + std::string(kMax, 'x')), 431);           // a name
  EXPECT_EQ(ErrorOf(begin + "X:" + std::string(kMax, ' ')), 431);    // blanks
  EXPECT_EQ(ErrorOf(std::string(kMax, 'x')), 431);                   // a method
  EXPECT_EQ(ErrorOf("GET /" + std::string(kMax, 'x')), 431);         // a target without an end
}

TEST(RequestParserTest, ATargetIsBounded) {
  const auto request = [](size_t size) {
    return absl::StrCat("GET /", std::string(size - 1, 'x'), " HTTP/1.1\r\nHost: a\r\n\r\n");
  };
  EXPECT_EQ(ErrorOf(request(RequestParser::kMaxTargetBytes)), 0);
  EXPECT_EQ(ErrorOf(request(RequestParser::kMaxTargetBytes + 1)), 414);
}

TEST(RequestParserTest, ABodyIsBoundedHoweverItIsSent) {
  const auto with_length = [](size_t size) {
    return absl::StrCat("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: ", size, "\r\n\r\n",
                        std::string(size, 'x'));
  };
  const auto in_chunks = [](size_t size) {
    std::string text = kChunked;
    for (size_t i = 0; i < size; ++i) text += "1\r\nx\r\n";
    return text + "0\r\n\r\n";
  };
  EXPECT_EQ(ErrorOf(with_length(kBodyLimit)), 0);
  EXPECT_EQ(ErrorOf(with_length(kBodyLimit + 1)), 413);
  EXPECT_EQ(ErrorOf(in_chunks(kBodyLimit)), 0);
  EXPECT_EQ(ErrorOf(in_chunks(kBodyLimit + 1)), 413);
  EXPECT_EQ(ErrorOf(absl::StrCat(kChunked, "ffffffffffffffff\r\n")), 413);
}

TEST(RequestParserTest, ExtensionsAndTrailersOfChunksAreBounded) {
  const auto with_extensions = [](size_t chunks, size_t size) {
    std::string text = kChunked;
    for (size_t i = 0; i < chunks; ++i) {
      absl::StrAppend(&text, "1;", std::string(size - 1, 'x'), "\r\nx\r\n");
    }
    return text + "0\r\n\r\n";
  };
  constexpr size_t kMax = RequestParser::kMaxExtensionBytes;
  EXPECT_EQ(ErrorOf(with_extensions(2, kMax)), 0);
  EXPECT_EQ(ErrorOf(with_extensions(1, kMax + 1)), 400);
  EXPECT_EQ(ErrorOf(with_extensions(RequestParser::kMaxExtensionsBytes / 16, 16)), 0);
  EXPECT_EQ(ErrorOf(with_extensions(RequestParser::kMaxExtensionsBytes / 16 + 1, 16)), 400);

  std::string trailers;
  for (size_t i = 0; i <= RequestParser::kMaxFields; ++i) trailers += "X: x\r\n";
  EXPECT_EQ(ErrorOf(absl::StrCat(kChunked, "0\r\n", trailers, "\r\n")), 431);
}

// What it leaves is at most what a connection can keep: a longer line never gets an end.
TEST(RequestParserTest, ALineWithoutAnEndIsLeftToItsReader) {
  for (const std::string& line : {std::string("5;"), std::string("0\r\nX: ")}) {
    RequestParser parser;
    const std::string begin = kChunked;
    size_t taken = parser.Feed(begin);
    ASSERT_EQ(taken, begin.size());
    parser.SetBodyLimit(kBodyLimit);
    EXPECT_EQ(parser.Feed(line + std::string(RequestParser::kBufferBytes, 'x')), 0u);
    EXPECT_EQ(parser.state(), State::kBody);
  }
}

TEST(RequestParserTest, WhatIsMissingIsWaitedFor) {
  const std::string whole =
      "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n";
  for (size_t size = 1; size < whole.size(); ++size) {
    EXPECT_EQ(ErrorOf(whole.substr(0, size)), 0) << size;
    EXPECT_NE(StateOf(whole.substr(0, size)), State::kDone) << size;
  }
  EXPECT_EQ(StateOf(whole), State::kDone);
}

}  // namespace
}  // namespace olmoe::http
