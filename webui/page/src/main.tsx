import { render } from 'preact';
import 'uplot/dist/uPlot.min.css';
import './app.css';
import { App } from './app';
import { keepBundle, openSaved } from './htmlreport';
import { Page } from './components/Page';
import { applyTheme } from './theme';

applyTheme();
const root = document.getElementById('page')!;
const held = document.getElementById('loopscope-data')?.textContent;
const app = new App(held ? openSaved(held) : null);
const draw = () => render(<Page app={app} version={app.version} />, root);
draw();
app.start(draw);
if (!held) keepBundle();
