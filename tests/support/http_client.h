#pragma once

#include <string>
#include <utility>
#include <vector>

namespace postrider {

// Plain HTTP/1.1 over raw sockets, so that a test sees every byte. Each call has a connection of
// its own to 127.0.0.1 and waits for up to a minute.

// Sends the bytes and returns all that comes back until the other side closes; empty when nobody
// listens there.
std::string Exchange(int port, const std::string& bytes);

// One connection, for what takes more than a request and its answer. Belongs to one thread.
class RawConnection {
 public:
  // From that address of this machine. What fails shows in what is read.
  explicit RawConnection(int port, const std::string& from = "127.0.0.1");
  ~RawConnection();
  RawConnection(const RawConnection&) = delete;
  RawConnection& operator=(const RawConnection&) = delete;

  // False when the other side takes no more.
  bool Send(const std::string& bytes);
  // Headers and body of one answer that has a Content-Length; what came of it when the other side
  // closed before.
  std::string ReadAnswer();
  // All until the other side closes.
  std::string ReadToEnd();
  // Whether the other side has closed, or sent something.
  bool Readable() const;
  int fd() const { return fd_; }

 private:
  bool ReadMore();

  int fd_;
  std::string in_;
};

// The whole answer to one request, headers and body.
std::string HttpCall(int port, const std::string& method, const std::string& target,
                     const std::vector<std::pair<std::string, std::string>>& headers,
                     const std::string& body);

// The same for a GET.
std::string HttpGet(int port, const std::string& path);

}  // namespace postrider
