// What can be carried away: the turns as a trace, the page as a file, the snapshot as JSON, a scrape config for Prometheus.
// Each card says what one gets, where from, how large it is and where to open it.
import type { ComponentChildren } from 'preact';
import { useEffect, useMemo, useState } from 'preact/hooks';
import type { App } from '../app';
import { Command } from '../components/Copy';
import { Snippet } from '../components/Snippet';
import * as format from '../format';
import { loopLabel } from '../loops';
import { recordingOf } from '../rules';
import { isLoopback, scrapeConfigs } from '../scrape';
import type { ProcessTrack } from '../store';
import { download, reportBytes, savedTurns, takeReport, takeSnapshot, takeTrace, usesToken, type Scope, type Taken } from '../take';

/** One download after the other: what became of the last one. */
function useTaking() {
  const [busy, setBusy] = useState(false);
  const [told, setTold] = useState<{ text: string; failed: boolean } | null>(null);
  const take = async (make: () => Promise<Taken>) => {
    setBusy(true);
    setTold(null);
    try {
      const taken = await make();
      const size = download(taken);
      setTold({ text: `${taken.name}, ${format.bytes(size)}: ${taken.told}.`, failed: false });
    } catch (error) {
      setTold({ text: error instanceof Error ? error.message : String(error), failed: true });
    } finally {
      setBusy(false);
    }
  };
  return { busy, told, take };
}

function Card(props: { id: string; title: string; children: ComponentChildren }) {
  return (
    <section class="card take" aria-labelledby={`take-${props.id}-title`} data-testid={`take-${props.id}`}>
      <h2 id={`take-${props.id}-title`}>{props.title}</h2>
      {props.children}
    </section>
  );
}

function Outcome({ told }: { told: { text: string; failed: boolean } | null }) {
  return (
    <p class={told?.failed ? 'take-outcome error-text' : 'take-outcome'} role="status" data-testid="take-outcome">
      {told && (told.failed ? `Not saved: ${told.text}` : `Saved ${told.text}`)}
    </p>
  );
}

export function TakeAwayView({ app }: { app: App; version: number }) {
  const { process } = app;
  if (!process) return null;
  const reachable = !app.offline && app.connectionText.kind === 'live';
  return (
    <div class="takes" data-testid="take-away">
      <h1 class="unseen">Take away</h1>
      {!app.offline && !reachable && (
        <p class="take-note" role="note">
          The server does not answer. What this page remembers can still be taken away.
        </p>
      )}
      <TraceCard app={app} process={process} />
      <ReportCard key={process.latest.id} app={app} process={process} />
      <SnapshotCard app={app} process={process} />
      <ScrapeCard app={app} />
    </div>
  );
}

/** Two slices, a counter and what was served: measured, with one to three descriptors a turn. */
const bytesOfTurn = 800;

function TraceCard({ app, process }: { app: App; process: ProcessTrack }) {
  const { busy, told, take } = useTaking();
  const loops = [...process.loops.values()];
  const { loop } = app;
  const all = loops.map((track) => track.latest);
  // A ring that is full has so many; before, all turns there were.
  const held = (track: (typeof loops)[number]) =>
    app.offline ? savedTurns(app, process, track).length : Math.min(track.latest.iterations, track.latest.ring_capacity ?? track.turns.recent.length);
  const size = (tracks: typeof loops) => {
    const turns = tracks.reduce((sum, track) => sum + held(track), 0);
    return `about ${format.count(turns)} turns, ${format.bytes(turns * bytesOfTurn)}`;
  };
  const recording = recordingOf(process.latest);
  return (
    <Card id="trace" title="The recent turns as a trace">
      <p>
        Every turn on a time line: how long it waited and why it woke, how long it was busy, what it served meanwhile, and marks at slow
        ones; ready events and utilization as curves. A track for each loop.
      </p>
      <p>
        Open it at{' '}
        <a href="https://ui.perfetto.dev" target="_blank" rel="noopener noreferrer">
          ui.perfetto.dev
        </a>{' '}
        (a site beyond this server: it works in your browser, and the trace stays there), in Chrome at <code>chrome://tracing</code>, or in
        speedscope.
      </p>
      {loop ? (
        <div class="take-actions">
          <span class="take-action">
            <button type="button" disabled={busy} onClick={() => take(() => takeTrace(app, process, [loop]))} data-testid="take-trace-loop">
              Save the trace of {loopLabel(loop.latest, all)}
            </button>
            <span class="quiet small">{size([loop])}</span>
          </span>
          {loops.length > 1 && (
            <span class="take-action">
              <button type="button" disabled={busy} onClick={() => take(() => takeTrace(app, process, loops))} data-testid="take-trace-all">
                Save all {loops.length} loops
              </button>
              <span class="quiet small">{size(loops)}</span>
            </span>
          )}
        </div>
      ) : (
        <p class="quiet">This process has no loop, so there are no turns.</p>
      )}
      <Outcome told={told} />
      {recording !== null && (
        <div class="take-else">
          <span class="quiet small">Without a browser, also after its end:</span>
          <Command text={`loopscope report --format trace -o trace.json ${recording}`} />
        </div>
      )}
    </Card>
  );
}

function ReportCard({ app, process }: { app: App; process: ProcessTrack }) {
  const { busy, told, take } = useTaking();
  const [scope, setScope] = useState<Scope>('process');
  const [bytes, setBytes] = useState<number | null>(null);
  const others = app.store.processes.size - 1;
  useEffect(() => {
    // Measured on what it would be; not at every event, for it goes through all that the page knows.
    if (app.offline) return;
    const measure = () => document.hidden || setBytes(reportBytes(app, process, scope));
    const first = setTimeout(measure, 50);
    const again = setInterval(measure, measureMs);
    return () => {
      clearTimeout(first);
      clearInterval(again);
    };
  }, [scope]);
  const recording = recordingOf(process.latest);
  if (app.offline) {
    return (
      <Card id="report" title="This page as a file">
        <p>You are looking at it: this file holds the page and its data, and needs neither a server nor the network.</p>
      </Card>
    );
  }
  return (
    <Card id="report" title="This page as a file">
      <p>
        One HTML file with the page itself and what it knows: all views, the curves, the recent and the slow turns. Opens in any browser
        from a disk, without a server and without the network; a policy inside forbids it to load anything.
      </p>
      <div class="take-actions">
        <button type="button" disabled={busy} onClick={() => take(() => takeReport(app, process, scope))} data-testid="take-report-save">
          Save the report
        </button>
        {/* The page's own files are about 300 kB of it. */}
        <span class="quiet small">{bytes === null ? 'measuring…' : `about ${format.bytes(bytes + pageBytes)}`}</span>
        {others > 0 && (
          <label class="take-choice">
            <input type="checkbox" checked={scope === 'all'} onChange={(event) => setScope(event.currentTarget.checked ? 'all' : 'process')} />
            with the {others === 1 ? 'other process' : `${format.exact(others)} other processes`}
          </label>
        )}
      </div>
      <Outcome told={told} />
      <p class="quiet small">It holds the command line, file names and stack frames: look before you pass it on. The table of all descriptors is not in it.</p>
      {recording !== null && (
        <div class="take-else">
          <span class="quiet small">From the recording, for instance in CI or after a crash:</span>
          <Command text={`loopscope report --format html -o report.html ${recording}`} />
        </div>
      )}
    </Card>
  );
}

/** A report grows as long as the page looks on; to measure it takes some ten milliseconds. */
const measureMs = 10_000;

/** What the page's own files add to a report, roughly. */
const pageBytes = 330_000;

function SnapshotCard({ app, process }: { app: App; process: ProcessTrack }) {
  const { busy, told, take } = useTaking();
  const [descriptors, setDescriptors] = useState(false);
  const open = process.latest.fds?.open ?? 0;
  const processes = app.store.processes.size;
  return (
    <Card id="snapshot" title="The snapshot as JSON">
      <p>
        All counters, histograms, turns, open sites and findings of {processes === 1 ? 'this process' : `the ${format.exact(processes)} processes`} at one
        instant, in seconds: for scripts and for bug reports.
        {app.offline && ' Of this saved page: what it was saved with, and the turns it remembers.'}
      </p>
      <div class="take-actions">
        <button type="button" disabled={busy} onClick={() => take(() => takeSnapshot(app, descriptors))} data-testid="take-snapshot-save">
          Save the snapshot
        </button>
        {!app.offline && (
          <label class="take-choice">
            <input type="checkbox" checked={descriptors} onChange={(event) => setDescriptors(event.currentTarget.checked)} />
            with every open descriptor{open > 0 && processes === 1 ? `, ${format.exact(open)} now` : ''}
          </label>
        )}
      </div>
      <Outcome told={told} />
      {!app.offline && (
        <div class="take-else">
          <span class="quiet small">In a terminal:</span>
          <Command text={`curl -s ${usesToken() ? '-H "Authorization: Bearer $(cat TOKEN_FILE)" ' : ''}${location.origin}${directory()}api/v1/snapshot`} />
        </div>
      )}
    </Card>
  );
}

const directory = () => location.pathname.replace(/[^/]*$/, '');

function ScrapeCard({ app }: { app: App }) {
  const several = app.store.server?.mode === 'serve';
  const origin = app.offline ? (app.saved?.extra['origin'] as string | undefined) : location.origin;
  const configs = useMemo(() => {
    if (origin === undefined) return [];
    const { protocol, host } = new URL(origin);
    return scrapeConfigs({ protocol, host, path: app.offline ? '/' : directory() }, several, !app.offline && usesToken());
  }, [origin, several]);
  return (
    <Card id="scrape" title="Metrics for Prometheus">
      {origin === undefined ? (
        <p>
          This report was made from a recording, without a server. <code>loopscope serve</code> gives the metrics of all that is recorded
          on a machine, and then shows here what to put into <code>prometheus.yml</code>.
        </p>
      ) : (
        <>
          <p>
            For <code>prometheus.yml</code>. {app.offline && 'The address is that of the server which this page was saved from. '}
            {several && 'A process that comes or goes is found within a minute. '}
            {!app.offline && usesToken() && 'The token is read from that file, on the machine that Prometheus runs on. '}
            {isLoopback(new URL(origin).host) && 'The server listens on this machine only, so Prometheus must run here, too.'}
          </p>
          {configs.map(({ title, text }) => (
            <Snippet key={title} title={title} text={text} />
          ))}
        </>
      )}
    </Card>
  );
}
