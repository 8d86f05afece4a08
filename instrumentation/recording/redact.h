// SPDX-License-Identifier: Apache-2.0
//
// Secrets in command lines: which arguments are some, and whether readers of recordings hide them.
//
// An argument tells by its name that it is secret: an option (--db-password=V, --token V), an
// assignment (PGPASSWORD=V, also inside "host=x password=V"), a header ("Authorization: V"), a
// member of JSON ("token": "V"); or it is the password of a URL (scheme://user:V@host,
// ?access_token=V). What has no name tells nothing: `mysql -pV`, `redis-cli -a V`, `curl -u u:V`
// stay. docs/security.md has the rules for users.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace loopscope::recording {

/// What a secret is replaced with.
inline constexpr std::string_view kHidden = "***";

/// Whether what is called `name` (an option without its dashes, a variable, a header) is secret.
/// That of a place or a property of one is not: password-file, key_id, token-ttl.
bool names_secret(std::string_view name);

/// `argv` with each secret replaced by kHidden. As many arguments, the first one too; doing it
/// twice changes nothing more.
std::vector<std::string> redacted(const std::vector<std::string>& argv);

/// From now on the recordings that this process reads have redacted arguments, whoever reads them:
/// no view can forget to. Any thread; said once, at the start.
void hide_secrets() noexcept;
bool hides_secrets() noexcept;

}  // namespace loopscope::recording
