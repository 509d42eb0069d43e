// What gatelog and the simulated GitHub say to each other, against GitHub's own schemas, in one process.
//
// Standard input: {
//   files: {name: text}     documents that must be valid as they stand
//   schema: text            the part of GitHub's schema that the simulated GitHub answers
//   queries: [{query, variables, data}]   as sent and answered
//   webhooks: [{event, payload}]
//   read: [names of the fields that gatelog reads in payloads]
// }
// Standard output: {wrong: [text], operations: [names of those sent], empty: [fields that were asked and are never there],
// webhooks: [names of those known]}
'use strict';
const fs = require('node:fs');
const { isDeepStrictEqual } = require('node:util');
const { Description } = require('./described.cjs');
const graphql = require('graphql');

const [packages] = process.argv.slice(2);
const wrong = new Set();

// -- GraphQL

/** The scalars of GitHub's schema that are sent or answered, by what their descriptions say. */
const SCALARS = {
  DateTime: /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/,
  GitObjectID: /^[0-9a-f]{40}$/,
  BigInt: /^\d+$/,
  URI: /^https?:\/\/\S+$/,
};

function githubsSchema() {
  const idl = fs.readFileSync(`${packages}/@octokit/graphql-schema/schema.graphql`, 'utf8');
  // The package defines two fields of a type twice: GitHub's slip, not ours.
  const schema = graphql.buildSchema(idl, { assumeValidSDL: true });
  for (const type of Object.values(schema.getTypeMap())) {
    if (!graphql.isScalarType(type) || graphql.isSpecifiedScalarType(type)) continue;
    type.serialize = type.parseValue = (value) => {
      if (!SCALARS[type.name]) throw new Error(`${type.name} is not written down in schemas.cjs`);
      if (typeof value !== 'string' || !SCALARS[type.name].test(value)) throw new Error(`${JSON.stringify(value)} is no ${type.name}`);
      return value;
    };
  }
  return schema;
}

/** The response keys that an object of `type` has under these selections. */
function keys(info, type, selections, found = new Set()) {
  for (const s of selections) {
    const given = (directive) => graphql.getDirectiveValues(directive, s, info.variableValues)?.if;
    if (given(graphql.GraphQLIncludeDirective) === false || given(graphql.GraphQLSkipDirective) === true) continue;
    if (s.kind === graphql.Kind.FIELD) {
      found.add((s.alias || s.name).value);
      continue;
    }
    const part = s.kind === graphql.Kind.FRAGMENT_SPREAD ? info.fragments[s.name.value] : s;
    const on = part.typeCondition ? info.schema.getType(part.typeCondition.name.value) : type;
    if (on === type || (graphql.isAbstractType(on) && info.schema.isSubType(on, type))) keys(info, type, part.selectionSet.selections, found);
  }
  return found;
}

/** Which type an answered object is: it says so, or only one has these fields. */
function typeOf(value, _, info, abstract) {
  if (value.__typename) return value.__typename;
  const has = Object.keys(value).sort();
  const sets = info.fieldNodes.map((f) => f.selectionSet.selections);
  const fits = (type) => {
    const asked = new Set(sets.flatMap((s) => [...keys(info, type, s)]));
    return isDeepStrictEqual([...asked].sort(), has);
  };
  const type = info.schema.getPossibleTypes(abstract).find(fits);
  if (!type) throw new Error(`no type of ${abstract.name} has exactly the fields ${has}`);
  return type.name;
}

/** Every part of our schema must be in GitHub's, with the same types. */
function compare(text, theirs) {
  const alike = (a, b, where) => String(a) === String(b) || wrong.add(`schema.graphql: ${where} is ${a}, at GitHub ${b}`);
  const named = (list) => new Map(list.map((x) => [x.name, x]));
  for (const ours of Object.values(graphql.buildSchema(text, { assumeValid: true }).getTypeMap())) {
    if (graphql.isIntrospectionType(ours)) continue;
    const other = theirs.getType(ours.name);
    if (!other || other.constructor.name !== ours.constructor.name) {
      wrong.add(`schema.graphql: GitHub has no such ${ours.name}`);
      continue;
    }
    if (graphql.isEnumType(ours)) {
      for (const v of ours.getValues()) if (!other.getValue(v.name)) wrong.add(`schema.graphql: ${ours.name} has no value ${v.name}`);
      continue;
    }
    if (graphql.isUnionType(ours)) {
      const members = named(other.getTypes());
      for (const t of ours.getTypes()) if (!members.has(t.name)) wrong.add(`schema.graphql: ${t.name} is no ${ours.name}`);
      continue;
    }
    if (graphql.isObjectType(ours)) {
      const interfaces = named(other.getInterfaces());
      for (const i of ours.getInterfaces()) if (!interfaces.has(i.name)) wrong.add(`schema.graphql: ${ours.name} is no ${i.name}`);
    }
    if (!ours.getFields) continue;
    for (const f of Object.values(ours.getFields())) {
      const real = other.getFields()[f.name];
      const where = `${ours.name}.${f.name}`;
      if (!real) {
        wrong.add(`schema.graphql: GitHub has no ${where}`);
        continue;
      }
      alike(f.type, real.type, where);
      const known = named(real.args || []);
      for (const a of f.args || []) {
        if (!known.has(a.name)) wrong.add(`schema.graphql: ${where} has no argument ${a.name}`);
        else alike(a.type, known.get(a.name).type, `${where}(${a.name})`);
      }
      for (const a of (real.args || []).filter(graphql.isRequiredArgument)) {
        if (!(f.args || []).some((own) => own.name === a.name)) wrong.add(`schema.graphql: ${where} needs ${a.name}`);
      }
    }
  }
}

function checkGraphql({ files = {}, schema: ours, queries = [] }) {
  const schema = githubsSchema();
  if (ours) compare(ours, schema);
  const documents = new Map();
  const document = (text, name) => {
    if (!documents.has(text)) {
      let parsed;
      try {
        parsed = graphql.parse(text);
        for (const e of graphql.validate(schema, parsed)) {
          wrong.add(`${name}: ${e.message}`);
          parsed = undefined;
        }
      } catch (e) {
        wrong.add(`${name}: ${e.message}`);
      }
      documents.set(text, parsed);
    }
    return documents.get(text);
  };
  for (const [name, text] of Object.entries(files)) document(text, name);
  /** Each field that a query asks for: the same of each type that the object may be. */
  const asked = new Map();
  const note = (name, parsed) => {
    const types = new graphql.TypeInfo(schema);
    const Field = (node) => {
      const [on, field] = [types.getParentType(), node.name.value];
      const may = graphql.isAbstractType(on) ? schema.getPossibleTypes(on) : [on];
      if (field !== '__typename') asked.set(`${name}: ${on.name}.${field}`, may.map((t) => `${name}: ${t.name}.${field}`));
    };
    graphql.visit(parsed, graphql.visitWithTypeInfo(types, { Field }));
  };
  const operations = new Set();
  const damaged = new Set();
  const there = new Map();
  const fieldResolver = (source, _args, _context, info) => {
    const value = source[info.path.key];
    const place = `${info.operation.name.value}: ${info.parentType.name}.${info.fieldName}`;
    there.set(place, there.get(place) || (value !== null && value !== undefined));
    return value;
  };
  for (const { query, variables, data } of queries) {
    const name = /query (\w+)/.exec(query)?.[1] || query;
    operations.add(name);
    const parsed = document(query, name);
    if (!parsed) continue;
    if (!damaged.has(name)) note(name, parsed);
    const operation = graphql.getOperationAST(parsed);
    const declared = operation.variableDefinitions.map((v) => v.variable.name.value);
    for (const v of Object.keys(variables || {})) if (!declared.includes(v)) wrong.add(`${name}: no variable $${v}`);
    // No data: refused as a whole, and there is nothing to compare.
    if (!data) continue;
    const execute = (rootValue) => graphql.executeSync({ schema, document: parsed, rootValue, variableValues: variables, fieldResolver, typeResolver: typeOf });
    const run = execute(data);
    if (!damaged.has(name)) {
      damaged.add(name);
      for (const damage of [(d) => (d.rateLimit.cost = '1'), (d) => delete d.rateLimit.cost, (d) => (d.rateLimit.price = 1)]) {
        const bad = structuredClone(data);
        damage(bad);
        const ran = execute(bad);
        if (!ran.errors && same(ran.data, bad)) wrong.add(`${name}: ${damage} is not noticed`);
      }
    }
    const where = (path) => (path || []).map((p) => (typeof p === 'number' ? '[]' : p)).join('.');
    for (const e of run.errors || []) wrong.add(`${name} at ${where(e.path)}: ${e.message}`);
    if (!run.errors && !same(run.data, data)) wrong.add(`${name}: ${difference(run.data, data)}`);
  }
  return { operations: [...operations].sort(), empty: [...asked].filter(([, may]) => !may.some((k) => there.get(k))).map(([k]) => k).sort() };
}

/** What is executed has no prototypes. */
const same = (ran, data) => isDeepStrictEqual(JSON.parse(JSON.stringify(ran)), data);

/** The first place where they differ. */
function difference(want, have, at = 'data') {
  if (typeof want !== 'object' || typeof have !== 'object' || !want || !have) return `${at} is ${JSON.stringify(have)}, not ${JSON.stringify(want)}`;
  for (const k of new Set([...Object.keys(want), ...Object.keys(have)])) {
    if (!isDeepStrictEqual(want[k], have[k])) return difference(want[k], have[k], `${at}.${k}`);
  }
  return at;
}

// -- webhooks

function checkWebhooks({ webhooks, read }) {
  const document = JSON.parse(fs.readFileSync(`${packages}/@octokit/openapi-webhooks/generated/api.github.com.json`, 'utf8'));
  const description = new Description(document, read);
  const validators = new Map();
  const dashed = (name) => name.replace(/_/g, '-');
  const nameOf = ({ event, payload }) => (payload.action ? `${event}.${payload.action}` : event);
  for (const hook of webhooks) {
    const name = nameOf(hook);
    if (validators.has(name)) continue;
    const known = document.webhooks[dashed(hook.event)] || document.webhooks[dashed(name.replace('.', '-'))];
    if (!known) {
      wrong.add(`GitHub describes no webhook ${name}`);
      continue;
    }
    const { schema } = known.post.requestBody.content['application/json'];
    validators.set(name, description.validator(schema));
  }
  const damaged = new Set();
  for (const hook of webhooks) {
    const name = nameOf(hook);
    if (validators.has(name) && hook.payload.sender && !damaged.has(name)) {
      damaged.add(name);
      for (const damage of [(p) => (p.sender.login = 7), (p) => delete p.sender.id, (p) => (p.sender.nobody = 1), (p) => (p.action = 'danced')]) {
        const bad = structuredClone(hook.payload);
        damage(bad);
        if (!validators.get(name)(bad).length) wrong.add(`webhook ${name}: ${damage} is not noticed`);
      }
    }
    for (const error of validators.get(name)?.(hook.payload) || []) wrong.add(`webhook ${name}: ${error}`);
  }
  return [...validators.keys()].sort();
}

const asked = JSON.parse(fs.readFileSync(0, 'utf8'));
const answer = asked.queries || asked.files ? checkGraphql(asked) : {};
if (asked.webhooks) answer.webhooks = checkWebhooks(asked);
console.log(JSON.stringify({ ...answer, wrong: [...wrong].sort() }));
