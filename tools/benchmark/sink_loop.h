#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <string_view>
#include <vector>

#include "tools/benchmark/sink.h"

namespace postrider::bench {

// Written by both processes; every counter has one writer while deliveries are under way.
struct Sink::Board {
  static constexpr int64_t kMaxSamples = 4 << 20;

  std::array<int, kPorts> ports{};
  std::array<int, kBlackHoles> black_hole_ports{};
  std::atomic<bool> hang{false};
  std::atomic<bool> slow{false};
  std::atomic<bool> record{false};
  std::atomic<bool> black_holes_wanted{false};
  std::atomic<bool> black_holes_open{false};
  std::atomic<int64_t> deliveries{0};
  std::atomic<int64_t> first_ns{0};
  std::atomic<int64_t> sample_count{0};
  int64_t samples[kMaxSamples];
};

// In memory that is shared with children.
Sink::Board* NewSinkBoard();

// The sink's own process. The listeners are opened by the constructor, so that the parent knows
// their ports before it forks.
class SinkLoop {
 public:
  explicit SinkLoop(Sink::Board* board);

  // In the parent: the child alone has them.
  void CloseAll();
  [[noreturn]] void Run();

 private:
  static constexpr size_t kBufferBytes = 8192;
  struct Connection {
    std::unique_ptr<char[]> buffer;
    size_t used = 0;
    // Differs for each connection that had this descriptor.
    uint64_t generation = 0;
    bool to_black_hole = false;
  };
  struct Late {
    int64_t due_ns;
    int fd;
    uint64_t generation;
  };

  int Listen(int* port);
  void Accept(int listener);
  void OnReadable(int fd);
  // The bytes of the first request, 0 when it is not whole.
  size_t RequestBytes(std::string_view data, size_t* body_bytes) const;
  void OnRequest(int fd, std::string_view request, size_t body_bytes);
  void Answer(int fd);
  void Close(int fd);
  void AnswerLate();
  void OpenBlackHoles();
  void CloseBlackHoles();

  Sink::Board* const board_;
  int epoll_fd_ = -1;
  std::vector<int> listeners_;
  std::vector<int> black_holes_;
  // Connections that fill the queues of the open black holes.
  std::vector<int> plugs_;
  // By descriptor.
  std::vector<bool> is_listener_;
  std::vector<Connection> connections_;
  std::deque<Late> late_;
  uint64_t last_generation_ = 0;
  // When the events that are being looked at came; 0 when nobody has asked yet.
  int64_t now_ns_ = 0;
};

}  // namespace postrider::bench
