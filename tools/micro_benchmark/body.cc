#include <cstring>
#include <string>

#include "benchmark/benchmark.h"
#include "src/message/json.h"
#include "src/message/rendering.h"
#include "tools/micro_benchmark/support.h"

// What a publish does with its payload, next to copying the body.

namespace postrider::micro {
namespace {

void CheckJson(benchmark::State& state) {
  Require(CheckJsonObject(TheBody()).ok(), "the body is no JSON object");
  for (auto _ : state) {
    bool ok = CheckJsonObject(TheBody()).ok();
    benchmark::DoNotOptimize(ok);
  }
}
BENCHMARK(CheckJson)->Name("body/check_json");

void RenderRaw(benchmark::State& state) {
  const std::string_view payload = ThePayload();
  Require(RenderRawBody(TheHeader(), payload) == TheBody(), "the raw body is another");
  for (auto _ : state) {
    std::string body = RenderRawBody(TheHeader(), payload);
    benchmark::DoNotOptimize(body);
  }
}
BENCHMARK(RenderRaw)->Name("body/render_raw");

void RenderRun(benchmark::State& state) {
  for (auto _ : state) {
    std::string body = RenderBody(TheHeader(), TheRun());
    benchmark::DoNotOptimize(body);
  }
}
BENCHMARK(RenderRun)->Name("body/render_run");

void BareMemcpy(benchmark::State& state) {
  const std::string& from = TheBody();
  std::string to(from.size(), '\0');
  for (auto _ : state) {
    std::memcpy(to.data(), from.data(), from.size());
    benchmark::ClobberMemory();
  }
}
BENCHMARK(BareMemcpy)->Name("body/bare_memcpy");

}  // namespace
}  // namespace postrider::micro
