"""Multipart forms, each behind a line with its Content-Type: real ones, and ones that two parsers read differently."""

FILE = (
    b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\nContent-Type: audio/wav\r\n\r\n'
    b"RIFF\x00\xff\r\n"
)
MODEL = b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nsmall\r\n'
OTHER = b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nlarge\r\n'
END = b"--b--\r\n"


def form(body: bytes, content_type: bytes = b"multipart/form-data; boundary=b") -> bytes:
    return content_type + b"\r\n" + body


def part(head: bytes, value: bytes = b"large") -> bytes:
    return b"--b\r\n" + head + b"\r\n\r\n" + value + b"\r\n"


def named(parameters: bytes, value: bytes = b"large") -> bytes:
    return part(b"Content-Disposition: form-data; " + parameters, value)


FORMS: dict[str, bytes] = {
    "a file and a model": form(FILE + MODEL + END),
    "a model and a file": form(MODEL + FILE + END),
    "several fields": form(FILE + MODEL + named(b'name="n"', b"2") + named(b'name="stream"', b"true") + END),
    "lists": form(FILE + MODEL + named(b'name="x[]"', b"a") + named(b'name="x[]"', b"b") + END),
    "without a last line end": form(MODEL + b"--b--"),
    "a quoted boundary": form(MODEL + END, b'multipart/form-data; boundary="b"'),
    "a charset": form(MODEL + END, b"multipart/form-data; charset=utf-8; boundary=b"),
    "unquoted names": form(named(b"name=model", b"small") + END),
    "headers in another order": form(
        part(b'Content-Type: text/plain; charset=utf-8\r\nContent-Disposition: form-data; name="model"', b"small") + END
    ),
    "a boundary inside a line": form(FILE.replace(b"RIFF", b"x--b\r\r--b--b\r\n-b") + MODEL + END),
    "an empty value": form(named(b'name="model"', b"") + END),
    "text outside ASCII": form(named(b'name="model"', "m\u00e9".encode()) + END),
    "a priority": form(MODEL + named(b'name="priority"', b"5") + END),
    "a priority of zero": form(MODEL + named(b'name="priority"', b"0") + END),
    "n beyond the bound": form(MODEL + named(b'name="n"', b"17.0") + END),
    # Two readings.
    "two models": form(MODEL + OTHER + END),
    "a model behind the end": form(MODEL + END + OTHER + END),
    "a model in front": form(OTHER[3:] + MODEL + END),
    "x-filename": form(MODEL + named(b'name="model"; x-filename="a"') + END),
    "two names": form(named(b'name="x"; name="model"') + MODEL + END),
    "a name with an escape": form(named(b'name="mod\\el"') + MODEL + END),
    "an encoded name": form(named(b"name*=utf-8''model") + MODEL + END),
    "a name in capitals": form(named(b'NAME="model"') + END),
    "a name behind a semicolon in quotes": form(named(b'filename="a; name=model"; name="x"') + MODEL + END),
    "a model that is a file": form(named(b'name="model"; filename="a"') + MODEL + END),
    "filename*": form(named(b"name=\"model\"; filename*=utf-8''a") + MODEL + END),
    "xboundary": form(MODEL + END, b"multipart/form-data; xboundary=x; boundary=b"),
    "two boundaries": form(MODEL + END, b"multipart/form-data; boundary=x; boundary=b"),
    "a quoted boundary with an escape": form(MODEL + END, b'multipart/form-data; boundary="\\b"'),
    "a boundary in capitals": form(MODEL + END, b"multipart/form-data; BOUNDARY=b"),
    "a longer boundary": form(
        b'--bc\r\nContent-Disposition: form-data; name="model"\r\n\r\nx\r\n--bc--\r\n' + MODEL + END
    ),
    "bare line feeds": form((FILE + MODEL + END).replace(b"\r\n", b"\n")),
    "a line feed before a delimiter": form(FILE.replace(b"RIFF", b"RIFF\n--b") + MODEL + END),
    "spaces behind a delimiter": form(MODEL.replace(b"--b\r\n", b"--b \t\r\n") + END),
    "a folded header": form(part(b'Content-Disposition: form-data;\r\n name="model"') + MODEL + END),
    "two dispositions": form(
        part(b'Content-Disposition: form-data; name="x"\r\nContent-Disposition: form-data; name="model"') + MODEL + END
    ),
    "a space before the colon": form(part(b'Content-Disposition : form-data; name="model"') + MODEL + END),
    "an encoding": form(
        part(b'Content-Disposition: form-data; name="model"\r\nContent-Transfer-Encoding: base64') + END
    ),
    "another charset": form(
        part(b'Content-Disposition: form-data; name="model"\r\nContent-Type: text/plain; charset=utf-16', b"a\0") + END
    ),
    "_charset_": form(named(b'name="_charset_"', b"utf-16") + MODEL + END),
    "a preamble": form(b"preamble\r\n" + MODEL + END),
    "no end": form(FILE + MODEL),
    "no parts": form(END),
    "form fields": b"application/x-www-form-urlencoded\r\nmodel=small&model=large",
    "mixed": form(MODEL + END, b"multipart/mixed; boundary=b"),
}
