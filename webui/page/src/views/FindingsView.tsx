// What the rules concluded about one process.
import type { App } from '../app';
import { Findings } from '../components/Findings';

export function FindingsView({ app }: { app: App; version: number }) {
  return app.process && <Findings app={app} process={app.process} />;
}
