// SPDX-License-Identifier: Apache-2.0
//
//     node dashboards.mjs DIRECTORY...    every *.json in them is a dashboard
//
// Against Grafana's published types (@grafana/schema), made a JSON Schema here: no unknown member, no wrong type, no missing one;
// the options of each panel against those of its type. What the types leave open is asked for below: queries, variables, layout,
// and that each panel is explained. Prints every fault; exit status 1 if there is one.
import { readdirSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { validator } from './closed_schema.mjs';

const validate = validator('grafana.ts');

/** Members of a variable that Grafana writes and that its types do not have: its export format, not its schema. */
const kUntyped = { variable: ['definition'] };
const kPanels = {
  heatmap: ['HeatmapOptions', 'HeatmapField'], stat: ['StatOptions', null], table: ['TableOptions', 'TableField'],
  timeseries: ['TimeseriesOptions', 'TimeseriesField'],
};
const kTargetMembers = new Set(['datasource', 'editorMode', 'expr', 'legendFormat', 'instant', 'range', 'format', 'refId']);

function checkTargets(panel, where, report) {
  if (!panel.targets?.length) report(`${where}: no query`);
  const refs = new Set();
  for (const target of panel.targets ?? []) {
    for (const member of Object.keys(target)) if (!kTargetMembers.has(member)) report(`${where}: query has unknown ${member}`);
    if (typeof target.expr !== 'string' || !target.expr) report(`${where}: query without expr`);
    if (!/^[A-Z]$/.test(target.refId ?? '') || refs.has(target.refId)) report(`${where}: refId ${target.refId}`);
    refs.add(target.refId);
    if (target.instant === target.range) report(`${where}: a query is either instant or range`);
    if (!['time_series', 'table', 'heatmap'].includes(target.format)) report(`${where}: format ${target.format}`);
    if ((panel.type === 'heatmap') !== (target.format === 'heatmap')) report(`${where}: ${target.format} in a ${panel.type}`);
    if (target.datasource?.uid !== '${datasource}') report(`${where}: query does not follow the data source that is chosen`);
  }
}

function checkPanel(panel, where, variables, report) {
  const types = kPanels[panel.type];
  if (!types) return report(`${where}: panels of type ${panel.type} are not known here`);
  validate(types[0], panel.options, `${where}.options`, report);
  const custom = panel.fieldConfig.defaults.custom;
  if (custom && types[1]) validate(types[1], custom, `${where}.custom`, report);
  if (custom && !types[1]) report(`${where}: a ${panel.type} has no custom field options`);
  checkTargets(panel, where, report);
  const columns = new Set(Object.values(panel.transformations?.find((t) => t.id === 'organize')?.options.renameByName ?? {}));
  for (const { matcher } of panel.fieldConfig.overrides) {
    const known = matcher.id === 'byName' && (columns.has(matcher.options) || variables.has(matcher.options));
    if (!known) report(`${where}: override of ${matcher.options}, which is no column`);
  }
  for (const part of ['**High:**', '**Do:**']) {
    if (!panel.description?.includes(part)) report(`${where}: the description does not say ${part}`);
  }
  if ((panel.description?.split('\n\n')[0].length ?? 0) < 10) report(`${where}: the description does not say what it is`);
  if (panel.type !== 'table' && panel.type !== 'heatmap' && !panel.fieldConfig.defaults.unit) report(`${where}: no unit`);
  const used = JSON.stringify(panel).matchAll(/\$\{?(\w+)/g);
  for (const [, name] of used) {
    if (!variables.has(name) && !name.startsWith('__')) report(`${where}: $${name} is no variable of this dashboard`);
  }
}

function checkLayout(panels, report) {
  const taken = new Set();
  const ids = new Set();
  for (const { id, title, gridPos: { x, y, w, h } } of panels) {
    if (ids.has(id)) report(`id ${id} twice`);
    ids.add(id);
    if (x < 0 || w < 1 || x + w > 24) report(`${title}: outside of the 24 columns`);
    for (let i = x; i < x + w; ++i) {
      for (let j = y; j < y + h; ++j) {
        if (taken.has(`${i},${j}`)) return report(`${title}: lies over another panel`);
        taken.add(`${i},${j}`);
      }
    }
  }
}

function checkDashboard(dashboard, report) {
  const bare = structuredClone(dashboard);
  for (const variable of bare.templating.list) {
    for (const member of kUntyped.variable) delete variable[member];
    if (!Object.keys(variable.current).length) delete variable.current;  // nothing chosen yet
  }
  validate('GrafanaDashboard', bare, '', report);
  const variables = new Set(dashboard.templating.list.map((variable) => variable.name));
  for (const name of ['datasource', 'job', 'instance', 'process', 'loop']) if (!variables.has(name)) report(`no variable ${name}`);
  const known = new Set();
  for (const variable of dashboard.templating.list) {
    for (const [, name] of JSON.stringify(variable.query).matchAll(/\$(\w+)/g)) {
      if (!known.has(name)) report(`variable ${variable.name} uses $${name}, which comes after it`);
    }
    known.add(variable.name);
  }
  checkLayout(dashboard.panels, report);
  for (const panel of dashboard.panels) {
    if (panel.type !== 'row') checkPanel(panel, `panel "${panel.title}"`, variables, report);
  }
}

let faults = 0;
let panels = 0;
const uids = new Set();
for (const directory of process.argv.slice(2)) {
  for (const name of readdirSync(directory).filter((file) => file.endsWith('.json')).sort()) {
    const report = (text) => { ++faults; console.error(`${basename(name)}: ${text}`); };
    const dashboard = JSON.parse(readFileSync(join(directory, name), 'utf8'));
    if (!/^[a-zA-Z0-9_-]{1,40}$/.test(dashboard.uid ?? '') || uids.has(dashboard.uid)) report(`uid ${dashboard.uid}`);
    uids.add(dashboard.uid);
    checkDashboard(dashboard, report);
    panels += dashboard.panels.length;
  }
}
if (panels === 0) { console.error('no dashboards'); faults = 1; }
console.log(`${uids.size} dashboards, ${panels} panels and rows, ${faults} faults`);
process.exitCode = faults ? 1 : 0;
