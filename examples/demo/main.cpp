// SPDX-License-Identifier: Apache-2.0
//
// A server to watch with loopscope, with a load of its own and faults to commit on request.
//
// Three threads, each with a loop: "server" (server.h) is the one to watch, "load" (load.h) has its
// clients, and "admin", the main thread, has the page with the buttons, the signals and the
// children. The Inspector adds threads without loops.
#include <signal.h>
#include <sys/wait.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>
#include <functional>
#include <iostream>
#include <memory>
#include <string>
#include <system_error>
#include <vector>

#include "admin.h"
#include "counters.h"
#include "load.h"
#include "loopscope/inspector.h"
#include "misbehaviour.h"
#include "server.h"

namespace demo {
namespace {

using namespace std::chrono_literals;

constexpr std::uint16_t kInspectorPort = 9123;
constexpr std::uint16_t kAdminPort = 9124;
/// --misbehave waits for it, so that there is a healthy part to compare with.
constexpr auto kMisbehaveAfter = 1s;

struct Options {
  ServerOptions server;
  LoadOptions load;
  std::string listen = "127.0.0.1:" + std::to_string(kInspectorPort);
  bool listen_given = false;
  bool inspector = true;
  std::string page;  // of who watches from outside
  std::uint16_t admin_port = kAdminPort;
  bool admin_port_given = false;
  double duration = 0;
  std::vector<std::string> misbehave;
};

std::string check_fault(const std::string& name) {
  if (find_fault(name)) return {};
  std::string message = "no such fault; there are";
  for (const FaultText& fault : kFaults) message += std::string(" ") + fault.name;
  return message;
}

/// It becomes part of the page with the buttons.
std::string check_page(const std::string& url) {
  const bool plain = url.find_first_of("\"'<>& \t\n") == std::string::npos;
  return url.starts_with("http") && plain ? "" : "not the address of a page: " + url;
}

/// Ends the program itself for --help and for wrong flags.
Options parse_flags(int argc, char** argv) {
  Options options;
  double stall_threshold_ms = 100;
  double slow_callback_every = 0;
  CLI::App app("A server that loopscope watches, with its own load; it misbehaves on request.");
  app.add_option("--connections", options.load.connections, "Clients")
      ->check(CLI::Range(0, 10'000))
      ->capture_default_str();
  app.add_option("--rate", options.load.rate, "Messages a second, of all clients together")
      ->check(CLI::Range(1.0, 1e6))
      ->capture_default_str();
  app.add_option("--duration", options.duration, "Seconds to run; 0: until Ctrl-C")
      ->check(CLI::Range(0.0, 1e9))
      ->capture_default_str();
  app.add_option("--port", options.server.port, "The server's TCP port; 0: a free one")
      ->capture_default_str();
  auto* admin =
      app.add_option("--admin-port", options.admin_port, "Port of the page with the buttons")
          ->capture_default_str();
  auto* listen = app.add_option("--listen", options.listen, "ADDR:PORT of the Inspector")
                     ->capture_default_str();
  app.add_flag("!--no-inspector", options.inspector, "Only record; watch with loopscope serve");
  app.add_option("--page", options.page,
                 "Address where another program shows this one, to be printed and linked to")
      ->check(CLI::Validator(check_page, "URL"));
  app.add_option("--stall-threshold", stall_threshold_ms,
                 "Milliseconds; the server's turns that are busy for longer are stalls")
      ->check(CLI::Range(0.001, 1e6))
      ->capture_default_str();
  app.add_option("--slow-callback-every", slow_callback_every,
                 "Seconds from one slow callback to the next; 0: none")
      ->check(CLI::Range(0.0, 1e6))
      ->capture_default_str();
  app.add_option("--misbehave", options.misbehave, "Faults to commit 1 s after the start")
      ->check(CLI::Validator(check_fault, "FAULT"))
      ->delimiter(',');
  std::string faults = "Faults, for --misbehave and as buttons:\n";
  for (const FaultText& fault : kFaults) {
    faults += std::string("  ") + fault.name + ": " + fault.text + "\n";
  }
  app.footer(faults);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    std::exit(app.exit(error) == 0 ? 0 : 2);
  }
  options.listen_given = listen->count() > 0;
  options.admin_port_given = admin->count() > 0;
  options.server.stall_threshold =
      std::chrono::nanoseconds(static_cast<std::int64_t>(stall_threshold_ms * 1e6));
  options.server.slow_callback_every = loopscope::Seconds(slow_callback_every);
  return options;
}

loopscope::InspectorOptions inspector_options(const std::string& listen) {
  loopscope::InspectorOptions options;
  const std::size_t colon = listen.rfind(':');
  unsigned long port = 65'536;
  try {
    if (colon != std::string::npos) port = std::stoul(listen.substr(colon + 1));
  } catch (const std::logic_error&) {
    // not a number
  }
  if (port > 65'535) throw std::invalid_argument("--listen wants ADDR:PORT, not " + listen);
  options.address = listen.substr(0, colon);
  if (options.address.starts_with('[') && options.address.ends_with(']')) {
    options.address = options.address.substr(1, options.address.size() - 2);
  }
  options.port = static_cast<std::uint16_t>(port);
  return options;
}

std::unique_ptr<loopscope::Inspector> make_inspector(const Options& options) {
  loopscope::InspectorOptions wanted = inspector_options(options.listen);
  try {
    return std::make_unique<loopscope::Inspector>(wanted);
  } catch (const loopscope::InspectorError& error) {
    if (options.listen_given) throw;
    std::cerr << "demo: " << error.what() << "\ndemo: taking a free port for the page\n";
    wanted.port = 0;
    return std::make_unique<loopscope::Inspector>(wanted);
  }
}

std::unique_ptr<Admin> make_admin(const Options& options, loopscope::Loop& loop,
                                  const Counters& counters, const Admin::Commit& commit) {
  try {
    return std::make_unique<Admin>(loop, options.admin_port, counters, commit);
  } catch (const std::system_error& error) {
    if (options.admin_port_given) throw;
    std::cerr << "demo: " << error.what() << "\ndemo: taking a free port for the buttons\n";
    return std::make_unique<Admin>(loop, 0, counters, commit);
  }
}

/// `page`: empty if it is not known.
void print_addresses(const std::string& page, const Admin& admin, const Server& server) {
  if (!page.empty()) {
    std::cout << "page     " << page << "\nmetrics  " << page << "metrics\n";
  } else if (loopscope::recording_error().empty()) {
    std::cout << "records  " << loopscope::recording_path() << "\n";
  }
  std::cout << "admin    " << admin.url() << "\nserver   127.0.0.1:" << server.port()
            << "\nCtrl-C ends it.\n"
            << std::flush;
  const std::string error = loopscope::recording_error();
  if (!error.empty()) std::cerr << "demo: " << error << "\n";
}

void run(const Options& options) {
  Counters counters;
  // Child watchers need libev's default loop.
  loopscope::Loop loop({.name = "admin", .default_loop = true});

  Server server(options.server, counters);
  Load load(options.load, server.port(), counters);
  const auto commit = [&server](Fault fault) { server.commit(fault); };
  const auto admin = make_admin(options, loop, counters, commit);
  const auto inspector = options.inspector ? make_inspector(options) : nullptr;
  const std::string page = inspector != nullptr ? inspector->url() : options.page;
  admin->set_page_url(page);

  // On this loop, and not on the server's, so that Ctrl-C works while the server is stuck.
  const auto end = [&loop](int) { loop.stop(); };
  const loopscope::Signal interrupt(loop, "signals", SIGINT, end);
  const loopscope::Signal terminate(loop, "signals", SIGTERM, end);
  const loopscope::Child reaper(loop, "child", 0, [&counters](int pid, int /*status*/) {
    counters.forked_child.compare_exchange_strong(pid, 0);
  });
  loopscope::Timer duration, misbehave;
  if (options.duration > 0) {
    duration = loopscope::Timer(loop, "duration", loopscope::Seconds(options.duration), 0s,
                                [&loop] { loop.stop(); });
  }
  if (!options.misbehave.empty()) {
    misbehave = loopscope::Timer(loop, "misbehave", kMisbehaveAfter, 0s, [&] {
      for (const std::string& name : options.misbehave) commit(*find_fault(name));
    });
  }

  print_addresses(page, *admin, server);
  server.start();
  load.start();
  loop.run();

  // First, because it holds copies of all sockets: while it lives, no peer sees one closed.
  if (const int child = counters.forked_child; child != 0) {
    kill(child, SIGKILL);
    waitpid(child, nullptr, 0);
  }
  load.stop();
  server.stop();
}

}  // namespace
}  // namespace demo

int main(int argc, char** argv) {
  try {
    demo::run(demo::parse_flags(argc, argv));
  } catch (const std::exception& error) {
    std::cerr << "demo: " << error.what() << "\n";
    return 1;
  }
  return 0;
}
