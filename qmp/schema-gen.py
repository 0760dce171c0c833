#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Reads QAPI schema files and writes, as C, what the monitors need of them (see qmp/qmp-schema.h):
the commands with their arguments, the events, and the text that query-qmp-schema answers with.

    schema-gen.py OUTPUT.c SCHEMA.json...

Only the part of QAPI that our files use is understood (enum, struct, union with a discriminator, command,
event); anything else is an error.
"""
import json
import os
import re
import sys

# QAPI's name: kind in C, its type in error messages, least and greatest value, type in introspection
INT64_MAX, UINT64_MAX = 2**63 - 1, 2**64 - 1
BUILTINS = {
    'str': ('STRING', 0, 0, 'string'),
    'bool': ('BOOL', 0, 0, 'boolean'),
    'number': ('NUMBER', 0, 0, 'number'),
    'any': ('ANY', 0, 0, 'value'),
    'null': ('ANY', 0, 0, 'null'),
    'int': ('INT', -2**63, INT64_MAX, 'int'),
    'uint32': ('INT', 0, 2**32 - 1, 'int'),
    'uint64': ('INT', 0, UINT64_MAX, 'int'),
    'size': ('INT', 0, UINT64_MAX, 'int'),
}
KEYS = {
    'enum': {'data'},
    'struct': {'data', 'base'},
    'union': {'data', 'base', 'discriminator'},
    'command': {'data', 'returns'},
    'event': {'data'},
}
EMPTY = 'q_empty'


class Schema:
    def __init__(self, paths):
        self.entities = {}
        self.order = []
        for path in paths:
            self.read(path)

    def read(self, path):
        with open(path, encoding='utf-8') as file:
            text = re.sub(r'^\s*#.*$', '', file.read(), flags=re.MULTILINE).replace("'", '"')
        decoder = json.JSONDecoder()
        module = os.path.splitext(os.path.basename(path))[0]
        position = len(text) - len(text.lstrip())
        while position < len(text):
            entity, position = decoder.raw_decode(text, position)
            while position < len(text) and text[position].isspace():
                position += 1
            self.add(entity, module, path)

    def add(self, entity, module, path):
        meta = next((key for key in KEYS if key in entity), None)
        if meta is None or set(entity) - {meta} - KEYS[meta]:
            raise SystemExit(f'{path}: cannot understand {entity}')
        name = entity[meta]
        if name in self.entities or name in BUILTINS:
            raise SystemExit(f'{path}: {name} is defined twice')
        self.entities[name] = dict(entity, meta=meta, name=name, module=module)
        self.order.append(name)

    def of(self, *metas):
        return [self.entities[name] for name in self.order if self.entities[name]['meta'] in metas]

    def members(self, data):
        """(name, type, optional) of what 'data' is: absent, a struct's name, or members written in place."""
        if data is None:
            return []
        if isinstance(data, str):
            struct = self.entities.get(data)
            if struct is None or struct['meta'] != 'struct':
                raise SystemExit(f"'{data}' is no struct")
            return self.members(struct.get('base')) + self.members(struct['data'])
        return [(name.lstrip('*'), kind, name.startswith('*')) for name, kind in data.items()]


class Introspection:
    """The SchemaInfo objects of all commands and events, and of the types that they need."""

    def __init__(self, schema):
        self.schema = schema
        self.infos = {}
        self.modules = {}  # of the first entity that needs it
        for entity in schema.of('command', 'event'):
            self.module = entity['module']
            info = {'name': entity['name'], 'meta-type': entity['meta'],
                    'arg-type': self.arguments(entity)}
            if entity['meta'] == 'command':
                info['ret-type'] = self.type(entity.get('returns'))
            self.put(info)

    def put(self, info):
        if info['name'] not in self.infos:
            self.infos[info['name']] = info
            self.modules[info['name']] = self.module

    def arguments(self, entity):
        data = entity.get('data')
        if isinstance(data, dict):
            return self.object(f"q_obj_{entity['name']}-arg", data)
        return self.type(data)

    def type(self, kind):
        if kind is None:
            return self.object(EMPTY, None)
        if isinstance(kind, list):
            name = f'[{self.type(kind[0])}]'
            self.put({'name': name, 'meta-type': 'array', 'element-type': name[1:-1]})
            return name
        if kind in BUILTINS:
            return self.builtin(BUILTINS[kind][3], kind)
        entity = self.schema.entities.get(kind)
        if entity is None:
            raise SystemExit(f"there is no type '{kind}'")
        if kind not in self.infos:
            {'enum': self.enum, 'struct': self.struct, 'union': self.union}[entity['meta']](entity)
        return kind

    def builtin(self, json_type, kind):
        name = 'int' if json_type == 'int' else kind
        self.put({'name': name, 'meta-type': 'builtin', 'json-type': json_type})
        return name

    def enum(self, entity):
        self.put({'name': entity['name'], 'meta-type': 'enum',
                  'members': [{'name': value} for value in entity['data']],
                  'values': entity['data']})

    def struct(self, entity):
        self.object(entity['name'], entity['name'])

    def union(self, entity):
        self.object(entity['name'], entity['base'])
        self.infos[entity['name']].update({
            'tag': entity['discriminator'],
            'variants': [{'case': case, 'type': self.type(kind)}
                         for case, kind in entity['data'].items()]})

    def object(self, name, data):
        info = {'name': name, 'meta-type': 'object', 'members': []}
        self.put(info)  # before its members: types may refer to each other
        for member, kind, optional in self.schema.members(data):
            described = {'name': member, 'type': self.type(kind)}
            if optional:
                described['default'] = None
            info['members'].append(described)
        return name


class Source:
    """The C text."""

    def __init__(self, schema):
        self.schema = schema
        self.lines = ['/* Generated by qmp/schema-gen.py; do not edit. */', '#include "qmp/qmp-schema.h"', '']
        self.types = {}

    def type(self, kind):
        """Name of the C object that describes KIND, written before its first use."""
        key = json.dumps(kind)
        if key not in self.types:
            self.types[key] = f'type_{len(self.types)}'
            self.lines.append(f'static const QmpSchemaType {self.types[key]} = {self.describe(kind)};')
        return self.types[key]

    def describe(self, kind):
        if isinstance(kind, list):
            return f'{{.kind = QMP_SCHEMA_LIST, .element = &{self.type(kind[0])}}}'
        if kind in BUILTINS:
            name, least, greatest, _ = BUILTINS[kind]
            least = 'G_MININT64' if least == -2**63 else str(least)
            return (f'{{.kind = QMP_SCHEMA_{name}, .minimum = {least}, '
                    f'.maximum = G_GUINT64_CONSTANT({greatest})}}')
        entity = self.schema.entities[kind]
        if entity['meta'] != 'enum':
            raise SystemExit(f"'{kind}': an argument can only be a builtin type, an enum or a list of them")
        values = ', '.join(json.dumps(value) for value in entity['data'])
        return f'{{.kind = QMP_SCHEMA_ENUM, .values = (const char *const[]){{{values}, NULL}}}}'

    def command(self, index, entity):
        members = self.schema.members(entity.get('data'))
        rows = [f'{{{json.dumps(name)}, &{self.type(kind)}, {"TRUE" if optional else "FALSE"}}}'
                for name, kind, optional in members]
        reference = 'NULL'
        if rows:
            reference = f'arguments_{index}'
            self.lines.append(f'static const QmpSchemaMember {reference}[] = {{{", ".join(rows)}}};')
        return f'{{{json.dumps(entity["name"])}, {json.dumps(entity["module"])}, {reference}, {len(rows)}}},'

    def array(self, declaration, rows):
        self.lines += ['', declaration + ' = {'] + ['    ' + row for row in rows] + ['};']

    def write(self, path):
        commands = [self.command(index, entity)
                    for index, entity in enumerate(self.schema.of('command'))]
        self.array('const QmpSchemaCommand qmp_schema_commands[]', commands + ['{NULL, NULL, NULL, 0},'])
        events = [f'{{{json.dumps(entity["name"])}, {json.dumps(entity["module"])}}},'
                  for entity in self.schema.of('event')]
        self.array('const QmpSchemaEvent qmp_schema_events[]', events + ['{NULL, NULL},'])
        found = Introspection(self.schema)
        infos = [f'{{{json.dumps(json.dumps(info))}, {json.dumps(found.modules[name])}}},'
                 for name, info in found.infos.items()]
        self.array('const QmpSchemaInfo qmp_schema_infos[]', infos + ['{NULL, NULL},'])
        with open(path, 'w', encoding='utf-8') as file:
            file.write('\n'.join(self.lines) + '\n')


def main():
    if len(sys.argv) < 3:
        raise SystemExit(__doc__)
    Source(Schema(sys.argv[2:])).write(sys.argv[1])


if __name__ == '__main__':
    main()
