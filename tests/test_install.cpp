// make install: the files, and that they say what the binary says.
#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>
#include <set>
#include <string>

#include "tests/support/winnow_runs.h"

namespace winnow::test {
namespace {

const std::filesystem::path kManPage = "share/man/man1/winnow.1";
const std::filesystem::path kBash = "share/bash-completion/completions/winnow";
const std::filesystem::path kZsh = "share/zsh/site-functions/_winnow";

Finished run_program(const std::string& program, Words arguments) {
  Finished run = test::run({.arguments = std::move(arguments), .program = program});
  CAPTURE(run.err);
  CHECK(run.code == 0);
  return run;
}

/// make TARGET, of the binary that is tested; nothing is built.
void make(const std::string& target, const std::filesystem::path& root, const Words& more = {}) {
  const std::string build = std::filesystem::path(binary_path()).parent_path().string();
  run_program("/usr/bin/make", joined({"-s", target, "NVCC=no", "BUILD=" + build, "PREFIX=/usr",
                                       "DESTDIR=" + root.string()},
                                      more));
}

std::set<std::filesystem::path> files_under(const std::filesystem::path& root) {
  std::set<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(root)) {
    if (entry.is_regular_file()) files.insert(entry.path().lexically_relative(root));
  }
  return files;
}

/// What bash proposes for the last word of a line.
std::set<std::string> completions(const std::filesystem::path& script, const std::string& line) {
  const std::string commands = ". '" + script.string() + "'; COMP_WORDS=(" + line +
                               "); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _winnow; "
                               "printf '%s\n' \"${COMPREPLY[@]}\"";
  const std::vector<std::string> lines = lines_of(run_program("/bin/bash", {"-c", commands}).out);
  return {lines.begin(), lines.end()};
}

}  // namespace

TEST_CASE("install: program, manual page and completions, and all of it is removed again") {
  const TempDir dir;
  const std::filesystem::path usr = dir / "usr";
  make("install", dir.path());
  CHECK(files_under(usr) == std::set<std::filesystem::path>{"bin/winnow", kManPage, kBash, kZsh});
  const Finished version = run_program((usr / "bin/winnow").string(), {"--version"});
  CHECK(version.out == succeed({"--version"}).out);
  make("install", dir.path(), {"DEMO=yes"});
  succeed({"check", "-m", (usr / "share/winnow/demo").string()});
  make("uninstall", dir.path());
  CHECK(files_under(usr).empty());
}

TEST_CASE("install: the manual page and the completions know every command and option") {
  const TempDir dir;
  make("install", dir.path());
  const std::string man = read_file(dir / "usr" / kManPage);
  const std::string bash = read_file(dir / "usr" / kBash);
  const std::string zsh = read_file(dir / "usr" / kZsh);
  size_t options = 0;
  for (const std::string command :
       {"generate", "chat", "tokenize", "inspect", "check", "logits", "bench", "eval"}) {
    CHECK(man.find("\n.SS winnow " + command + "\n") != std::string::npos);
    CHECK(zsh.find("\n    " + command + ")\n") != std::string::npos);
    const std::set<std::string> known =
        completions(dir / "usr" / kBash, "winnow " + command + " -");
    for (const std::string& line : lines_of(succeed({command, "--help"}).out)) {
      const size_t at = line.find("--");
      if (!line.starts_with("  -") || at == std::string::npos) continue;
      const std::string name = line.substr(at, line.find_first_of(" ,", at) - at);
      CAPTURE(name);
      ++options;
      std::string escaped;  // as roff writes it
      for (const char c : name) escaped += c == '-' ? "\\-" : std::string(1, c);
      CHECK(man.find(escaped) != std::string::npos);
      CHECK(zsh.find(name) != std::string::npos);
      CHECK(known.contains(name));
    }
  }
  CHECK(options > 100);
  for (const char* code : {"0", "4", "143"}) {
    CHECK(man.find("\n.TP\n" + std::string(code) + "\n") != std::string::npos);
  }
}

TEST_CASE("install: bash completes commands, options, words, values and paths") {
  const TempDir dir;
  make("install", dir.path());
  const std::filesystem::path script = dir / "usr" / kBash;
  const auto of = [&](const std::string& line) { return completions(script, line); };
  using Set = std::set<std::string>;
  CHECK(of("winnow ge") == Set{"generate"});
  CHECK(of("winnow --v") == Set{"--version"});
  CHECK(of("winnow generate --ki") == Set{""});
  CHECK(of("winnow check --pro") == Set{"--progress"});
  CHECK(of("winnow generate --device c") == Set{"cpu", "cuda"});
  CHECK(of("winnow generate --device = c") == Set{"cpu", "cuda"});
  CHECK(of("winnow generate --device =") == Set{"auto", "cpu", "cuda"});
  CHECK(of("winnow generate --kv-policy sa") == Set{"sage"});
  CHECK(of("winnow generate -q ''").contains("--kv-budget"));
  CHECK(of("winnow eval -m d nee") == Set{"needle"});
  CHECK(of("winnow generate -n ''") == Set{""});
  write_file(dir / "text file", "x");
  CHECK(of("winnow generate -f '" + (dir / "text").string() + "'") ==
        Set{(dir / "text file").string()});
  CHECK(of("winnow generate -m '" + (dir / "us").string() + "'") == Set{(dir / "usr").string()});
  CHECK(of("winnow generate -m '" + (dir / "text").string() + "'") == Set{""});
}

TEST_CASE("install: shells and man read the files without complaint") {
  const TempDir dir;
  make("install", dir.path());
  const auto clean = [&](const std::string& program, const Words& arguments) {
    if (!std::filesystem::exists(program)) {
      MESSAGE(program, " is not here: not checked");
      return;
    }
    CHECK(run_program(program, arguments).err.empty());
  };
  clean("/bin/bash", {"-n", (dir / "usr" / kBash).string()});
  clean("/usr/bin/zsh", {"-n", (dir / "usr" / kZsh).string()});
  clean("/usr/bin/groff", {"-man", "-ww", "-Tutf8", "-z", (dir / "usr" / kManPage).string()});
}

}  // namespace winnow::test
