// SPDX-License-Identifier: Apache-2.0
//
//     node kubernetes.mjs FILE...    each document is an object that Kubernetes, or the Prometheus operator, would take
//
// Against their own schemas, as kubernetes-models has them (no wrong type or form, none missing), and its types (no unknown member). And the selectors select.
// Prints every fault; exit status 1 if there is one.
import { readFileSync } from 'node:fs';
import { basename } from 'node:path';
import { parseAllDocuments } from 'yaml';
import { Deployment } from 'kubernetes-models/apps/v1/Deployment';
import { PodMonitor } from '@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1/PodMonitor';
import { validator } from './closed_schema.mjs';

const validate = validator('kubernetes.ts');
const kKinds = { 'apps/v1 Deployment': Deployment, 'monitoring.coreos.com/v1 PodMonitor': PodMonitor };

let faults = 0;
const objects = [];
for (const path of process.argv.slice(2)) {
  const report = (text) => { ++faults; console.error(`${basename(path)}: ${text}`); };
  for (const document of parseAllDocuments(readFileSync(path, 'utf8'), { uniqueKeys: true })) {
    for (const error of [...document.errors, ...document.warnings]) report(error.message);
    const object = document.toJS();
    const kind = kKinds[`${object.apiVersion} ${object.kind}`];
    if (!kind) { report(`${object.apiVersion} ${object.kind} is not known here`); continue; }
    validate(object.kind, object, '', report);
    try {
      new kind(object).validate();
    } catch (error) {
      report(error.message);
      continue;
    }
    objects.push([object, report]);
  }
}

const pods = objects.filter(([object]) => object.kind === 'Deployment').map(([object]) => object.spec.template);
for (const [object, report] of objects) {
  const wanted = Object.entries(object.spec.selector.matchLabels);
  if (!pods.some((pod) => wanted.every(([name, value]) => pod.metadata.labels[name] === value))) report('selects no pod of ours');
  if (object.kind === 'PodMonitor') {
    for (const { port } of object.spec.podMetricsEndpoints) {
      const named = pods.some((pod) => pod.spec.containers.some((c) => c.ports?.some(({ name }) => name === port)));
      if (!named) report(`no container has a port named ${port}`);
    }
    continue;
  }
  const { volumes, containers, initContainers } = object.spec.template.spec;
  for (const { name, volumeMounts } of [...containers, ...initContainers]) {
    for (const mount of volumeMounts) {
      if (!volumes.some((volume) => volume.name === mount.name)) report(`${name} mounts ${mount.name}, which is no volume`);
    }
  }
}
if (objects.length === 0) { console.error('no objects'); faults = 1; }
console.log(`${objects.length} objects, ${faults} faults`);
process.exitCode = faults ? 1 : 0;
