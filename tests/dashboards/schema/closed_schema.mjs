// SPDX-License-Identifier: Apache-2.0
//
// Published TypeScript types as JSON Schema that takes no unknown member.
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Ajv } from 'ajv';
import { createGenerator } from 'ts-json-schema-generator';

const here = dirname(fileURLToPath(import.meta.url));

/** (type, value, where, report): calls report(text) for each fault. `file`: holds the types, exported. */
export function validator(file) {
  const generator = createGenerator({
    path: join(here, file), tsconfig: join(here, 'tsconfig.json'), type: '*', skipTypeCheck: true, additionalProperties: false,
  });
  const ajv = new Ajv({ allErrors: true, strict: false });
  const checks = new Map();
  return (type, value, where, report) => {
    if (!checks.has(type)) checks.set(type, ajv.compile(generator.createSchema(type)));
    const check = checks.get(type);
    if (check(value)) return;
    for (const error of check.errors) report(`${where}${error.instancePath}: ${error.message} ${JSON.stringify(error.params)}`);
  };
}
