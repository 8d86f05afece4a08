# SPDX-License-Identifier: Apache-2.0
#
# A line echo server on AnyEvent with EV (Perl's libev); LIBEV_FLAGS chooses the backend (1 select, 2 poll, 4 epoll).
# A line "busy N" blocks the loop for N ms. Prints "READY PORT"; ends by itself on SIGTERM.
use strict;
use warnings;
use EV;
use AnyEvent;
use AnyEvent::Handle;
use AnyEvent::Socket;
use Time::HiRes;

my ($served, $ticks, %handles) = (0, 0);
my $done = AnyEvent->condvar;
my $guard = tcp_server '127.0.0.1', 0, sub {
  my ($socket) = @_;
  my $handle;
  my $forget = sub { delete $handles{$_[0]}; $_[0]->destroy };
  $handle = AnyEvent::Handle->new(fh => $socket, on_error => $forget, on_eof => $forget, on_read => sub {
    $_[0]->push_read(line => sub {
      my ($self, $line) = @_;
      $served++;
      Time::HiRes::sleep($1 / 1000) if $line =~ /^busy (\d+)/;
      $self->push_write("$line\n");
    });
  });
  $handles{$handle} = $handle;
}, sub {
  my (undef, undef, $port) = @_;
  syswrite STDOUT, "READY $port\n";
  0;
};
my $timer = AnyEvent->timer(after => 0.005, interval => 0.005, cb => sub { $ticks++ });
my $usr = AnyEvent->signal(signal => 'USR2', cb => sub { });
my $term = AnyEvent->signal(signal => 'TERM', cb => sub { $done->send });
$done->recv;
%handles = ();
undef $guard;
print "DONE served=$served ticks=$ticks\n";
