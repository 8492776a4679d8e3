"""Chat templates in the style of well-known models, short and written for these tests.

Between them they use what such templates rely on: loops that look behind and ahead, namespaces, slices, tests
of types, JSON with arguments, the date, exceptions, and each family's own idea of a tool.
"""

CHATML = """\
{% for message in messages %}
<|im_start|>{{ message.role }}
{% if message.role == 'assistant' %}
{% generation %}{{ message.content }}{% endgeneration %}<|im_end|>
{% else %}
{{ message.content }}<|im_end|>
{% endif %}
{% endfor %}
{% if add_generation_prompt %}
<|im_start|>assistant
{% endif %}
"""

# Definitions and calls between tags; results in a row are one message of the user.
HERMES = """\
{%- macro start(role) -%}{{ '<|im_start|>' ~ role ~ '\\n' }}{%- endmacro -%}
{%- if tools -%}
    {{- start('system') -}}
    {%- if messages[0].role == 'system' %}{{ messages[0].content + '\\n' }}{% endif -%}
    {{- '<tools>' -}}
    {%- for tool in tools %}{{ '\\n' ~ (tool | tojson) }}{% endfor -%}
    {{- '\\n</tools><|im_end|>\\n' -}}
{%- endif -%}
{%- for message in messages -%}
    {%- if message.role == 'tool' -%}
        {%- if loop.first or messages[loop.index0 - 1].role != 'tool' %}{{ '<|im_start|>user' }}{% endif -%}
        {{- '\\n<tool_response>\\n' ~ message.content ~ '\\n</tool_response>' -}}
        {%- if loop.last or messages[loop.index0 + 1].role != 'tool' %}{{ '<|im_end|>\\n' }}{% endif -%}
    {%- elif message.tool_calls -%}
        {{- start('assistant') -}}
        {%- if message.content %}{{ message.content + '\\n' }}{% endif -%}
        {%- for call in message.tool_calls -%}
            {%- if call.function is defined %}{% set call = call.function %}{% endif -%}
            {{- '<tool_call>\\n{"name": "' ~ call.name ~ '", "arguments": ' -}}
            {{- call.arguments | tojson ~ '}\\n</tool_call>' -}}
        {%- endfor -%}
        {{- '<|im_end|>\\n' -}}
    {%- elif not (tools and loop.first and message.role == 'system') -%}
        {{- start(message.role) + message.content + '<|im_end|>\\n' -}}
    {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt %}{{ start('assistant') }}{% endif -%}
"""

# One call a message, whose arguments are pairs; the definitions stand in the first message of the user.
LLAMA = """\
{{- bos_token -}}
{%- if messages[0]['role'] == 'system' -%}
    {%- set system = messages[0]['content'] | trim -%}
    {%- set messages = messages[1:] -%}
{%- else -%}
    {%- set system = 'Today is ' ~ strftime_now('%Y') -%}
{%- endif -%}
{{- '<|system|>' ~ system ~ '<|eot|>' -}}
{%- if tools is not none -%}
    {{- '<|user|>' -}}
    {%- for tool in tools %}{{ tool | tojson(indent=1) }}{% endfor -%}
    {{- messages[0].content ~ '<|eot|>' -}}
    {%- set messages = messages[1:] -%}
{%- endif -%}
{%- for message in messages -%}
    {%- if 'tool_calls' in message -%}
        {%- if message.tool_calls | length != 1 -%}
            {{- raise_exception('one call at a time') -}}
        {%- endif -%}
        {%- set call = message.tool_calls[0].function -%}
        {{- '<|assistant|>' ~ call.name ~ '(' -}}
        {%- for name, value in call.arguments | items -%}
            {{- name ~ '=' ~ (value | tojson) -}}{%- if not loop.last %}{{ ', ' }}{% endif -%}
        {%- endfor -%}
        {{- ')<|eot|>' -}}
    {%- elif message.role in ['tool', 'ipython'] -%}
        {{- '<|ipython|>' -}}
        {{- message.content | tojson if message.content is iterable else message.content -}}
        {{- '<|eot|>' -}}
    {%- else -%}
        {{- '<|' ~ message.role ~ '|>' ~ message.content | trim ~ '<|eot|>' -}}
    {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt %}{{ '<|assistant|>' }}{% endif -%}
"""

# The definitions before the last message of the user, roles that alternate, ids of nine characters.
MISTRAL = """\
{{- bos_token -}}
{%- set said = namespace(turns=0) -%}
{%- set users = messages | selectattr('role', 'equalto', 'user') | list -%}
{%- for message in messages -%}
    {%- if message.role in ('user', 'assistant') and message.tool_calls is not defined -%}
        {%- if (message.role == 'user') != (said.turns % 2 == 0) -%}
            {{- raise_exception('roles must alternate: ' ~ message.role) -}}
        {%- endif -%}
        {%- set said.turns = said.turns + 1 -%}
    {%- endif -%}
    {%- if message.role == 'user' -%}
        {%- if tools is not none and message == users[-1] -%}
            {{- '[AVAILABLE_TOOLS]' ~ (tools | tojson(separators=(',', ':'))) ~ '[/AVAILABLE_TOOLS]' -}}
        {%- endif -%}
        {{- '[INST]' ~ message.content ~ '[/INST]' -}}
    {%- elif message.tool_calls is defined and message.tool_calls is not none -%}
        {{- '[TOOL_CALLS][' -}}
        {%- for call in message.tool_calls -%}
            {%- if call.id | length != 9 %}{{ raise_exception('ids have nine characters') }}{% endif -%}
            {{- (call.function | tojson)[:-1] ~ ', "id": "' ~ call.id ~ '"}' -}}
            {{- ', ' if not loop.last else ']' ~ eos_token -}}
        {%- endfor -%}
    {%- elif message.role == 'tool' -%}
        {%- set content = message.content.content if message.content is mapping else message.content -%}
        {{- '[TOOL_RESULTS]{"content": ' ~ content ~ ', "call_id": "' ~ message.tool_call_id -}}
        {{- '"}[/TOOL_RESULTS]' -}}
    {%- elif message.role == 'assistant' -%}
        {{- message.content ~ eos_token -}}
    {%- endif -%}
{%- endfor -%}
"""
