// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>

#include <string>
#include <vector>

#include "instrumentation/recording/redact.h"

namespace loopscope::recording {
namespace {

using Argv = std::vector<std::string>;

std::string one(const std::string& argument) { return redacted(Argv{"program", argument})[1]; }

TEST(Redact, ValueOfAnOption) {
  EXPECT_EQ(redacted(Argv{"p", "--password", "hunter2", "file"}),
            (Argv{"p", "--password", "***", "file"}));
  EXPECT_EQ(redacted(Argv{"p", "-token", "abc", "--x"}), (Argv{"p", "-token", "***", "--x"}));
  EXPECT_EQ(redacted(Argv{"p", "--api-key", "abc", "--auth", "u:v", "rest"}),
            (Argv{"p", "--api-key", "***", "--auth", "***", "rest"}));
  EXPECT_EQ(redacted(Argv{"p", "--requirepass", "x y"}), (Argv{"p", "--requirepass", "***"}));
}

TEST(Redact, ValueBehindEquals) {
  EXPECT_EQ(one("--password=hunter2"), "--password=***");
  EXPECT_EQ(one("--password=a=b c;d&e"), "--password=***") << "to its end";
  EXPECT_EQ(one("--db-passwd=x"), "--db-passwd=***");
  EXPECT_EQ(one("--dbPassword=x"), "--dbPassword=***");
  EXPECT_EQ(one("--client_secret=x"), "--client_secret=***");
  EXPECT_EQ(one("--aws.credentials=x"), "--aws.credentials=***");
  EXPECT_EQ(one("--apiKey=x"), "--apiKey=***");
  EXPECT_EQ(one("--auth-token=x"), "--auth-token=***");
  EXPECT_EQ(one("-Djavax.net.ssl.keyStorePassword=changeit"),
            "-Djavax.net.ssl.keyStorePassword=***");
}

TEST(Redact, Assignments) {
  EXPECT_EQ(one("PGPASSWORD=x"), "PGPASSWORD=***");
  EXPECT_EQ(one("AWS_SECRET_ACCESS_KEY=a/b+c=="), "AWS_SECRET_ACCESS_KEY=***");
  EXPECT_EQ(one("host=db user=me password=x dbname=d"), "host=db user=me password=*** dbname=d");
  EXPECT_EQ(one("host=db password='a b' port=1"), "host=db password=*** port=1");
  EXPECT_EQ(one("Name=n;AccountKey=abc==;Suffix=s"), "Name=n;AccountKey=***;Suffix=s");
}

TEST(Redact, Urls) {
  EXPECT_EQ(one("postgres://me:pw@db:5432/x"), "postgres://me:***@db:5432/x");
  EXPECT_EQ(one("--db=redis://:pw@h/0"), "--db=redis://:***@h/0");
  EXPECT_EQ(one("http://me:p@ss@h/"), "http://me:***@h/") << "an @ that is not escaped";
  EXPECT_EQ(one("https://ghp_abcdefghijklmnop1234@github.com/x"), "https://***@github.com/x");
  EXPECT_EQ(one("https://h/x?access_token=abc&page=2"), "https://h/x?access_token=***&page=2");
  EXPECT_EQ(one("a://u:1@h b://v:2@h"), "a://u:***@h b://v:***@h");
}

TEST(Redact, HeadersAndJson) {
  EXPECT_EQ(one("Authorization: Bearer abc"), "Authorization: ***");
  EXPECT_EQ(one("X-Api-Key: abc"), "X-Api-Key: ***");
  EXPECT_EQ(one(R"({"user":"me","password":"x"})"), R"({"user":"me","password":***)");
}

TEST(Redact, LeavesTheRestAlone) {
  const Argv normal{"/usr/bin/program",
                    "-v",
                    "--listen",
                    "127.0.0.1:80",
                    "--password-file",
                    "/run/secret.txt",
                    "--key-id=AKIA1",
                    "--token-ttl",
                    "30",
                    "--no-auth",
                    "x",
                    "--keyspace=k",
                    "--author",
                    "me",
                    "--bypass=1",
                    "--max-tokens",
                    "4096",
                    "--tls-key",
                    "/etc/ssl/server.pem",
                    "--tls-key=server.key",
                    "ssh://git@host/x",
                    "http://host:80/a@b:c",
                    "auth:8080",
                    "--monkey=1",
                    "--link=token-server:1",
                    "a=b",
                    "key",
                    "--",
                    "-",
                    "",
                    "=",
                    "--=",
                    "-=x",
                    "://",
                    "@",
                    "tokenize",
                    "--color",
                    "auto",
                    "--format=json",
                    "--ask-password",
                    "file"};
  EXPECT_EQ(redacted(normal), normal);
}

TEST(Redact, NeverTakesAnOptionForAValue) {
  EXPECT_EQ(redacted(Argv{"p", "--auth", "--listen", "1"}), (Argv{"p", "--auth", "--listen", "1"}));
  EXPECT_EQ(redacted(Argv{"p", "--password"}), (Argv{"p", "--password"}));
  EXPECT_EQ(redacted(Argv{"p", "--password", ""}), (Argv{"p", "--password", ""}))
      << "nothing to hide";
}

TEST(Redact, WhatHasNoNameTellsNothing) {
  // Said in docs/security.md: these stay.
  const Argv nameless{"mysql", "-pV", "-a", "V", "-u", "me:V"};
  EXPECT_EQ(redacted(nameless), nameless);
}

TEST(Redact, TwiceIsOnce) {
  const Argv argv{"p",
                  "--password",
                  "x",
                  "--token=y",
                  "a://u:p@h?key=k",
                  "a://me:token=v:/;b@h",  // a slash less, and it is a URL with a password
                  "Cookie: a=b",
                  "host=h password=p",
                  R"("secret": "s")"};
  const Argv once = redacted(argv);
  EXPECT_NE(once, argv);
  EXPECT_EQ(redacted(once), once);
  ASSERT_EQ(once.size(), argv.size());
}

TEST(Redact, HostileArguments) {
  const std::string many(100000, ':');
  EXPECT_EQ(one(many).size(), many.size());
  const std::string long_name = "--" + std::string(100000, 'k') + "=x";
  EXPECT_EQ(one(long_name), long_name);
  EXPECT_EQ(one("\xff\xfe=\xff"), "\xff\xfe=\xff");
  EXPECT_TRUE(redacted(Argv{}).empty());
}

}  // namespace
}  // namespace loopscope::recording
