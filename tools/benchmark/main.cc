#include <curl/curl.h>
#include <signal.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "tools/benchmark/bare_grpc.h"
#include "tools/benchmark/bench.h"
#include "tools/benchmark/environment.h"
#include "tools/benchmark/report.h"
#include "tools/benchmark/sink.h"

namespace postrider::bench {
namespace {

struct Flags {
  std::string server;
  std::string dir;
  std::string json;
  std::vector<std::string> only;
  int runs = 3;
  int window = 0;
  bool quick = false;
};

// A scenario is wanted when a key of it begins with what was asked for.
bool IsWanted(const ScenarioEntry& entry, const std::vector<std::string>& only) {
  if (only.empty()) return true;
  for (const std::string& prefix : only) {
    for (const char* name : {entry.name, entry.other_name}) {
      if (*name == '\0') continue;
      // publish is a key's first part of its own, and not a wish for publish_batch.
      if (absl::StartsWith(absl::StrCat(name, "."), prefix) && prefix != "publish" &&
          prefix != "drain") {
        return true;
      }
      if (prefix == name || absl::StartsWith(prefix, absl::StrCat(name, "."))) return true;
    }
  }
  return false;
}

void RunScenarios(const Flags& flags, Bench& bench) {
  bool any = false;
  for (const ScenarioEntry& entry : Scenarios()) {
    if (!IsWanted(entry, flags.only)) continue;
    any = true;
    const std::unique_ptr<Scenario> scenario = entry.make();
    for (int run = 1; run <= flags.runs; ++run) {
      std::fprintf(stderr, "%s: run %d of %d\n", entry.name, run, flags.runs);
      const Deadline deadline(entry.name, entry.limit);
      scenario->Run(bench);
    }
  }
  if (!any) Fail("--only names no key");
}

int Main(const Flags& flags) {
  signal(SIGPIPE, SIG_IGN);
  // It forks, so it comes before all threads.
  Sink sink;
  StartWatchdog();
  if (curl_global_init(CURL_GLOBAL_ALL) != CURLE_OK) Fail("libcurl cannot be set up");
  if (access(flags.server.c_str(), X_OK) != 0) {
    Fail(absl::StrCat("--server ", flags.server, " cannot be run: build it first"));
  }
  const std::string scratch = MakeScratch(flags.dir);
  Report report;
  Scale scale = flags.quick ? Scale::Quick() : Scale::Full();
  scale.window = flags.window;
  Bench bench(flags.server, scratch, scale, sink, report);
  RunScenarios(flags, bench);
  if (flags.only.empty()) report.RequireAllKeys();
  RemoveScratch();
  std::fputs(report.Table().c_str(), stdout);
  if (flags.json.empty()) return 0;
  std::ofstream file(flags.json);
  file << report.Json();
  file.close();
  if (!file) Fail(absl::StrCat("--json ", flags.json, " cannot be written"));
  return 0;
}

int ParseAndRun(int argc, char** argv) {
  // As in Postrider: it costs whoever uses gRPC.
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
  CLI::App program("Measures Postrider against the libraries that it stands on");
  const std::filesystem::path own_dir =
      std::filesystem::read_symlink("/proc/self/exe").parent_path();
  Flags flags;
  flags.server = own_dir / "postrider";
  flags.dir = own_dir;
  program.add_option("--server", flags.server, "The server to measure; else the one beside this");
  program.add_option("--dir", flags.dir,
                     "Where data directories are made, on a disk; else where this program is");
  program.add_option("--json", flags.json, "Write the figures to this file, too");
  program.add_option("--only", flags.only, "Only the keys that begin so, separated by commas")
      ->delimiter(',');
  program.add_option("--runs", flags.runs, "How often each scenario is run; 3 without this")
      ->check(CLI::Range(1, 100));
  program
      .add_option("--window", flags.window,
                  "Requests under way in the bare loop of drain and drain_many; without this, what "
                  "it is fastest with, which changes from run to run")
      ->check(CLI::Range(1, 4096));
  program.add_flag("--quick", flags.quick,
                   "A short run that shows that the bench works; its figures mean nothing");
  std::string model;
  CLI::App* const bare = program.add_subcommand("bare-grpc-server", "What the bench runs itself");
  bare->add_option("model", model)->required();
  CLI11_PARSE(program, argc, argv);
  if (bare->parsed()) return ServeBareGrpc(model);
  if (flags.quick && program.count("--runs") == 0) flags.runs = 1;
  return Main(flags);
}

}  // namespace
}  // namespace postrider::bench

int main(int argc, char** argv) { return postrider::bench::ParseAndRun(argc, argv); }
