import { render } from 'preact';
import 'uplot/dist/uPlot.min.css';
import './app.css';
import { App } from './app';
import { Page } from './components/Page';

const root = document.getElementById('page')!;
const app = new App();
const draw = () => render(<Page app={app} version={app.version} />, root);
draw();
app.start(draw);
