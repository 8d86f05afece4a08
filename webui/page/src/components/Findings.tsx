import * as format from '../format';
import { instant, type Finding } from '../model';
import type { ProcessTrack } from '../store';

/** The rules look at behaviour: before this, silence is no verdict. */
const enoughSeconds = 10;
const rank = { error: 0, warning: 1, info: 2 };

export function Findings({ process, now }: { process: ProcessTrack; now: number }) {
  const findings = (process.latest.findings ?? []).slice().sort((a, b) => (rank[a.severity] ?? 3) - (rank[b.severity] ?? 3));
  const young = process.time - process.startedAt < enoughSeconds;
  return (
    <section class="card findings" aria-labelledby="findings-title" data-testid="findings">
      <div class="card-head">
        <h2 id="findings-title">Findings</h2>
        {findings.length > 0 && <span class="quiet">{format.exact(findings.length)}</span>}
      </div>
      {findings.length === 0 ? (
        process.latest.findings === null ? (
          <p class="verdict quiet">This source draws no conclusions.</p>
        ) : young && process.running ? (
          <p class="verdict quiet" data-verdict="young">
            Not enough data yet: the process started {format.span(process.time - process.startedAt)} ago.
          </p>
        ) : (
          <p class="verdict" data-verdict="none">
            <span class="tick" aria-hidden="true">✓</span>
            <span>
              <b>No findings</b>
              <span class="quiet"> in {format.span(process.time - process.startedAt)}: no rule has anything to object to.</span>
            </span>
          </p>
        )
      ) : (
        <ul>
          {findings.map((finding, i) => (
            <Row key={`${finding.rule} ${finding.subject ?? i}`} finding={finding} now={now} />
          ))}
        </ul>
      )}
    </section>
  );
}

function Row({ finding, now }: { finding: Finding; now: number }) {
  const since = finding.since === null ? null : typeof finding.since === 'number' ? finding.since : instant(finding.since);
  return (
    <li class={`finding ${finding.severity}`} data-rule={finding.rule} data-severity={finding.severity}>
      <div class="finding-head">
        <span class={`badge ${finding.severity}`}>{finding.severity}</span>
        <b>{finding.title}</b>
      </div>
      {finding.detail && <p>{finding.detail}</p>}
      {finding.advice && <p class="advice">{finding.advice}</p>}
      <p class="quiet small">
        <code>{finding.rule}</code>
        {finding.subject && (
          <>
            {' · '}
            <code>{finding.subject}</code>
          </>
        )}
        {finding.count !== null && finding.count > 1 && ` · ${format.count(finding.count)} times`}
        {since !== null && since > 1e9 && ` · since ${format.clock(since)}, ${format.span(now - since)} ago`}
      </p>
    </li>
  );
}
