// The verdict on one process, then each finding as prose, then what the rules looked at.
import type { App } from '../app';
import * as format from '../format';
import { loopLabel } from '../loops';
import { instant, type Finding } from '../model';
import { bySeverity, loopOf, looks, mentions, recordingOf, rules, siteOf, verdict, type Context, type Look } from '../rules';
import { siteText } from '../sites';
import type { ProcessTrack } from '../store';
import { endText } from '../tree';
import { Command } from './Copy';

const glyphs = { error: '!', warning: '!', info: 'i', good: '✓', unknown: '…' } as const;

export function Findings({ app, process }: { app: App; process: ProcessTrack }) {
  const { latest } = process;
  const age = process.time - process.startedAt;
  const said = verdict(latest, age, process.running ? null : endText(latest));
  const findings = bySeverity(latest.findings ?? []);
  const recording = recordingOf(latest);
  return (
    <section class="findings" aria-labelledby="findings-title" data-testid="findings">
      <div class={`card verdict ${said.severity}`} data-verdict={said.kind === 'findings' ? undefined : said.kind}>
        <span class="verdict-glyph" aria-hidden="true">
          {glyphs[said.severity]}
        </span>
        <div>
          <h2 id="findings-title">
            <span class="unseen">Findings: </span>
            {said.headline}
          </h2>
          <p class="quiet">{said.text}</p>
        </div>
      </div>
      {findings.length > 0 && (
        <ul class="finding-list">
          {findings.map((finding, i) => (
            <Entry key={`${finding.rule} ${finding.subject ?? ''} ${finding.count === null ? i : ''}`} app={app} process={process} finding={finding} />
          ))}
        </ul>
      )}
      {latest.findings !== null && <Looked process={process} age={age} />}
      {recording !== null && (
        <p class="under findings-report">
          All of this as text: <Command text={`loopscope report ${recording}`} />
        </p>
      )}
      <Elsewhere app={app} process={process} />
    </section>
  );
}

function Entry({ app, process, finding }: { app: App; process: ProcessTrack; finding: Finding }) {
  const { latest } = process;
  const context: Context = {
    finding,
    process: latest,
    loop: loopOf(finding, latest.loops),
    site: siteOf(finding, latest.fds?.sites ?? []),
  };
  const rule = Object.hasOwn(rules, finding.rule) ? rules[finding.rule] : undefined;
  const numbers = rule?.numbers(context) ?? [];
  const commands = rule?.commands(context) ?? [];
  const since = finding.since === null ? null : typeof finding.since === 'number' ? finding.since : instant(finding.since);
  return (
    <li class={`card finding ${finding.severity}`} data-rule={finding.rule} data-severity={finding.severity}>
      <div class="finding-head">
        <span class={`badge ${finding.severity}`}>{finding.severity}</span>
        <h3>{finding.title}</h3>
        <span class="quiet small finding-facts">
          <code>{finding.rule}</code>
          {since !== null && since > 1e9 && ` · since ${format.clock(since)}, ${format.span(app.now - since)} ago`}
        </span>
      </div>
      <dl class="finding-parts">
        {(finding.detail || numbers.length > 0) && (
          <div>
            <dt>evidence</dt>
            <dd>
              {finding.detail}
              {numbers.length > 0 && (
                <ul class="finding-numbers">
                  {numbers.map(([label, value]) => (
                    <li key={label}>
                      <span class="quiet">{label}</span> <b>{value}</b>
                    </li>
                  ))}
                </ul>
              )}
            </dd>
          </div>
        )}
        {rule && (
          <div>
            <dt>what it does</dt>
            <dd>{rule.consequence(context)}</dd>
          </div>
        )}
        {finding.advice && (
          <div>
            <dt>what to do</dt>
            <dd>{finding.advice}</dd>
          </div>
        )}
        {commands.length > 0 && (
          <div>
            <dt>next</dt>
            <dd>
              <ul class="finding-commands">
                {commands.map(({ text, why }) => (
                  <li key={text}>
                    <Command text={text} />
                    <span class="quiet small">{why}</span>
                  </li>
                ))}
              </ul>
            </dd>
          </div>
        )}
        <Links app={app} context={context} />
      </dl>
    </li>
  );
}

function Links({ app, context }: { app: App; context: Context }) {
  const { finding, process, loop, site } = context;
  const to = { process: process.id, own: {} };
  const links: { href: string; text: string }[] = [];
  if (loop) {
    const at = { ...to, loop: String(loop.id) };
    const { turns, watchers } = mentions(finding, loop);
    links.push({ href: app.href({ ...at, view: 'loop' }), text: `loop ${loopLabel(loop, process.loops)}` });
    for (const turn of turns) links.push({ href: app.href({ ...at, view: 'loop', own: { turn: String(turn) } }), text: `turn ${turn}` });
    for (const watcher of watchers) {
      links.push({ href: app.href({ ...at, view: 'watchers', own: { watcher: `${watcher.kind}:${watcher.name}` } }), text: `watcher ${watcher.name}` });
    }
  } else {
    // Several loops of one name: any of them may be meant.
    for (const other of process.loops) {
      if (other.name === finding.subject) {
        links.push({ href: app.href({ ...to, loop: String(other.id), view: 'loop' }), text: `loop ${loopLabel(other, process.loops)}` });
      }
    }
  }
  if (site) {
    links.push({ href: app.href({ ...to, view: 'descriptors', own: { site: String(site.id) } }), text: `open site ${siteText(site).what}` });
  }
  if (finding.rule.startsWith('fd-')) links.push({ href: app.href({ ...to, view: 'descriptors' }), text: 'all descriptors' });
  if (links.length === 0) return null;
  return (
    <div>
      <dt>see</dt>
      <dd class="finding-links">
        {links.map(({ href, text }) => (
          <a key={href} href={href}>
            {text}
          </a>
        ))}
      </dd>
    </div>
  );
}

const marks: Record<Look['state'], string> = { found: '!', clear: '✓', waiting: '…', blind: '–' };
const words: Record<Look['state'], string> = { found: 'found', clear: 'clear', waiting: 'needs more data', blind: 'cannot tell' };

/** What silence is worth: each rule with what it has looked at, or what it lacks. */
function Looked({ process, age }: { process: ProcessTrack; age: number }) {
  return (
    <div class="card">
      <div class="card-head">
        <h2>What was looked at</h2>
        <span class="quiet">
          {Object.keys(rules).length} rules over {format.span(age)}
        </span>
      </div>
      <ul class="looks" data-testid="looks">
        {looks(process.latest, age).map(({ rule, about, look }) => (
          <li key={rule} class={look.state} data-rule={rule} data-state={look.state}>
            <span class="look-mark" aria-hidden="true">
              {marks[look.state]}
            </span>
            <span class="look-rule">
              <code>{rule}</code> <span class="unseen">{words[look.state]}:</span>
            </span>
            <span class="look-about quiet">{about}</span>
            <span class="look-text">{withCode(look.text)}</span>
          </li>
        ))}
      </ul>
    </div>
  );
}

/** What stands between backticks is a command. */
const withCode = (text: string) => text.split('`').map((part, i) => (i % 2 === 1 ? <code key={i}>{part}</code> : part));

const othersShown = 6;

function Elsewhere({ app, process }: { app: App; process: ProcessTrack }) {
  const others = [...app.store.processes.values()].filter((other) => other !== process && (other.latest.findings?.length ?? 0) > 0);
  if (others.length === 0) return null;
  return (
    <p class="under">
      Findings of other processes:{' '}
      {others.slice(0, othersShown).map(({ latest }, i) => (
        <>
          {i > 0 && ', '}
          <a href={app.href({ process: latest.id, loop: null, own: {} })}>
            {latest.command} {latest.pid}
          </a>{' '}
          ({latest.findings!.length})
        </>
      ))}
      {others.length > othersShown && ` and ${format.exact(others.length - othersShown)} more`}
    </p>
  );
}
