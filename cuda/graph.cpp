#include "cuda/graph.h"

#include <type_traits>
#include <utility>

#include "cuda/check.h"

namespace winnow::cuda {
namespace {

using Graph = std::unique_ptr<std::remove_pointer_t<cudaGraph_t>, decltype(&cudaGraphDestroy)>;
using GraphExec =
    std::unique_ptr<std::remove_pointer_t<cudaGraphExec_t>, decltype(&cudaGraphExecDestroy)>;

/// While it lives, what is queued on the stream is written down and not run.
class Capture {
 public:
  explicit Capture(cudaStream_t stream) : stream_(stream) {
    check_cuda(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "begin a graph");
  }
  ~Capture() {
    if (open_) (void)end();  // left by an error: the stream must work again
  }
  Capture(const Capture&) = delete;
  Capture& operator=(const Capture&) = delete;

  Graph finish() {
    Graph graph(nullptr, &cudaGraphDestroy);
    const cudaError_t status = end(graph);
    check_cuda(status, "end a graph");
    return graph;
  }

 private:
  cudaError_t end(Graph& graph) {
    open_ = false;
    cudaGraph_t raw = nullptr;
    const cudaError_t status = cudaStreamEndCapture(stream_, &raw);
    graph.reset(raw);
    return status;
  }
  cudaError_t end() {
    Graph dropped(nullptr, &cudaGraphDestroy);
    return end(dropped);
  }

  cudaStream_t stream_;
  bool open_ = true;
};

class GraphRecording final : public Recording {
 public:
  GraphRecording(std::function<void()> steps, cudaStream_t stream, bool graph)
      : steps_(std::move(steps)), stream_(stream), graph_(graph) {}

  void run() override {
    if (!graph_ || !warm_) {
      steps_();
      warm_ = true;
      return;
    }
    if (!exec_) exec_ = capture();
    check_cuda(cudaGraphLaunch(exec_.get(), stream_), "launch a graph");
  }

 private:
  GraphExec capture() const {
    Capture open(stream_);
    steps_();
    const Graph graph = open.finish();
    cudaGraphExec_t raw = nullptr;
    check_cuda(cudaGraphInstantiate(&raw, graph.get(), 0), "prepare a graph");
    return {raw, &cudaGraphExecDestroy};
  }

  std::function<void()> steps_;
  cudaStream_t stream_;
  bool graph_;
  bool warm_ = false;
  GraphExec exec_{nullptr, &cudaGraphExecDestroy};
};

}  // namespace

std::unique_ptr<Recording> make_recording(std::function<void()> steps, cudaStream_t stream,
                                          bool graph) {
  return std::make_unique<GraphRecording>(std::move(steps), stream, graph);
}

}  // namespace winnow::cuda
