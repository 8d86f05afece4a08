// The frame around the views: header, banners, the chosen view, footer.
import type { FunctionComponent } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';
import type { App } from '../app';
import { staleSeconds } from '../banners';
import * as format from '../format';
import { onKey } from '../keys';
import { headline, type Headline } from '../overview';
import type { View } from '../selection';
import type { ProcessTrack } from '../store';
import { titleOf } from '../title';
import { DescriptorsView } from '../views/DescriptorsView';
import { FindingsView } from '../views/FindingsView';
import { LoopView } from '../views/LoopView';
import { OverviewView } from '../views/OverviewView';
import { TakeAwayView } from '../views/TakeAwayView';
import { WatchersView } from '../views/WatchersView';
import { Banners } from './Banners';
import { emptyText, HowToBegin } from './Empty';
import { Footer } from './Footer';
import { Header } from './Header';
import { HelpDialog } from './HelpDialog';
import { HelpTexts } from './Term';
import { TokenForm } from './TokenForm';

const views: Record<View, FunctionComponent<{ app: App; version: number }>> = {
  overview: OverviewView,
  loop: LoopView,
  watchers: WatchersView,
  descriptors: DescriptorsView,
  findings: FindingsView,
  take: TakeAwayView,
};

/** `version` only makes the properties differ: the state itself is one mutable object. */
export function Page({ app, version }: { app: App; version: number }) {
  const nothing = emptyText(app);
  const locked = app.connection.state === 'unauthorized';
  const Chosen = views[app.selection.view];
  const [help, setHelp] = useState(false);
  const main = useRef<HTMLElement>(null);
  useEffect(() => {
    const pressed = (event: KeyboardEvent) => {
      const target = event.target as HTMLElement;
      const typing = target.closest('input, select, textarea, [contenteditable]') !== null;
      // In the filter, Escape leaves it; the browser empties it first where there is something in it.
      if (typing && event.key === 'Escape' && target.matches('input[type=search]') && (target as HTMLInputElement).value === '') target.blur();
      if (document.querySelector('dialog[open]')) return;
      const dealt = onKey(event, typing, {
        go: (view) => (location.hash = app.href({ view })),
        back: () => app.selection.view !== 'overview' && (location.hash = app.href({ view: 'overview' })),
        help: () => setHelp(true),
        search: () => {
          const field = main.current?.querySelector<HTMLInputElement>('input[type=search]');
          field?.focus();
          return Boolean(field);
        },
      });
      if (dealt) event.preventDefault();
    };
    document.addEventListener('keydown', pressed);
    return () => document.removeEventListener('keydown', pressed);
  }, []);
  const tracks = [...app.store.processes.values()];
  const said = tracks.length > 0 ? headline(tracks, app.gone) : null;
  const title = titleFor(app, tracks, said);
  useEffect(() => {
    if (!app.offline) document.title = title; // a saved page has one that says what it is
  }, [title]);
  useEffect(() => {
    scrollTo(0, 0);
  }, [app.selection.view]);
  return (
    <>
      <Header app={app} onHelp={() => setHelp(true)} />
      <main
        id="main"
        ref={main}
        tabIndex={-1}
        class={app.silent !== null && app.silent > staleSeconds ? 'faded' : ''}
        data-view={app.selection.view}
      >
        <Banners app={app} />
        {app.connection.state === 'unauthorized' && <TokenForm refused={app.connection.refused} onToken={(t) => app.setToken(t)} />}
        {!nothing ? (
          <Chosen app={app} version={version} />
        ) : (
          !locked && (
            <>
              <p class="empty">{nothing}</p>
              <HowToBegin app={app} />
            </>
          )
        )}
      </main>
      <Footer app={app} />
      <Announcer headline={said} />
      <HelpTexts />
      <HelpDialog open={help} onClose={() => setHelp(false)} />
    </>
  );
}

/** In the overview it is about all processes, elsewhere about the one on screen. */
function titleFor(app: App, tracks: ProcessTrack[], said: Headline | null): string {
  const all = app.selection.view === 'overview' && tracks.length > 1;
  const { process } = app;
  const running = tracks.filter((track) => track.running).length;
  const subject = all ? `${format.exact(running)} running` : process && `${process.latest.command} ${process.latest.pid}`;
  return titleOf(all || !process ? said : headline([process], app.gone), subject, app.connectionText.kind === 'lost');
}

/** A verdict that flaps must not talk without end. */
const announceEveryMs = 10_000;

/** Says aloud when the verdict changes, whatever view is open. */
function Announcer({ headline }: { headline: Headline | null }) {
  const said = useRef({ topic: '', at: -Infinity, text: '' });
  if (headline && headline.topic !== said.current.topic && performance.now() - said.current.at > announceEveryMs) {
    // The first one is on the page anyway, and is read with it.
    said.current = { topic: headline.topic, at: performance.now(), text: said.current.topic === '' ? '' : headline.text };
  }
  return (
    <p class="unseen" role="status" data-testid="announcer">
      {said.current.text}
    </p>
  );
}
