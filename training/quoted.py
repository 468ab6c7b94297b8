"""What a prompt quotes, as capitals: the rule of src/text/quoted_text.h, whose cases are quoted_cases.tsv."""

import re

kInWord = r"[0-9A-Za-z\u0080-\U0010ffff]"
kSingle = rf"(?<!{kInWord})'[^\n]*?'(?!{kInWord})"
kPlain = re.compile(rf'"[^"\n]*"|“[^”\n]*”|{kSingle}')
kInJson = re.compile(rf'"text"\s*:\s*"(?:[^"\\]|\\.)*"?|\\"(?:(?!\\")[^\n])*\\"|“[^”\n]*”|{kSingle}')


def capitals(text):
    return re.sub("[a-z]", lambda m: m[0].upper(), text)


def capitals_in_quotes(prompt):
    def quoted(match):
        key = re.match(r'"text"\s*:\s*"', match[0]) if json else None
        return key[0] + capitals(match[0][key.end() :]) if key else capitals(match[0])

    json = prompt.lstrip(" \t\r\n").startswith("{")
    return (kInJson if json else kPlain).sub(quoted, prompt)
