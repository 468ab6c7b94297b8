// Work on the streams of the made-up device.
#pragma once

#include <functional>
#include <memory>
#include <vector>

constexpr int kBothCards = -1;

// A piece of work on a stream, in the order of the streams or of a recording.
struct Node {
  std::function<void()> work;
  std::vector<std::shared_ptr<Node>> after;
  int stream = 0;
  int device = 0;  // whose memory it may touch; kBothCards: of either
  bool done = false;
};
using NodePtr = std::shared_ptr<Node>;

// What is between cudaStreamBeginCapture and its end.
struct Recorded {
  std::vector<NodePtr> nodes;
  bool ended = false;
};
