// The banners on top, each with what can be done about it.
import type { App } from '../app';

export function Banners({ app }: { app: App }) {
  const heir = app.heir;
  const list = app.banners;
  return (
    <div data-testid="banner" class="banners">
      {list.map((banner) => (
        <div key={banner.key} class={`banner ${banner.level}`} role={banner.level === 'error' ? 'alert' : undefined} aria-live="off">
          <span>{banner.text}</span>
          {banner.keep && app.selection.view !== 'take' && (
            <a href={app.href({ view: 'take' })} data-testid="banner-take">
              Take away the last turns, a report
            </a>
          )}
          {banner.key === 'ended' && heir && (
            <button type="button" onClick={() => app.selectProcess(heir.id)}>
              {heir.pid === app.process?.latest.pid ? `show what it became, ${heir.command}` : `show the running one, pid ${heir.pid}`}
            </button>
          )}
        </div>
      ))}
    </div>
  );
}
