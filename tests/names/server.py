#!/usr/bin/env python3
"""A name server that changes, fails, delays and lies.

server.py ADDRESS FILE: answers on port 53 of ADDRESS from the zone in FILE, which it reads for every
query. Over UDP, answers of more than 512 octets are truncated (RFC 1035 section 4.2.1); the client
then asks over TCP. A line of the file is `NAME WHAT...`, where WHAT is one of: an address, `servfail`,
`refused`, `silent`, `silent6` (only AAAA is not answered), `garbage`. A name with only a name
server's `exists` has no address; any other name does not exist. `ttl N` sets the TTL, 60 by default.
Prints each query as `NAME TYPE` to standard output.
"""
import ipaddress
import socket
import struct
import sys
import threading

A, AAAA = 1, 28


def zone(path):
    names, ttl = {}, 60
    with open(path, encoding="ascii") as lines:
        for words in map(str.split, lines):
            if words[:1] == ["ttl"]:
                ttl = int(words[1])
            elif words:
                names[words[0]] = words[1:]
    return names, ttl


def question(query):
    labels, at = [], 12
    while query[at]:
        labels.append(query[at + 1 : at + 1 + query[at]].decode("ascii").lower())
        at += 1 + query[at]
    return ".".join(labels), struct.unpack_from(">H", query, at + 1)[0], query[12 : at + 5]


def reply(query, path):
    name, kind, echo = question(query)
    print(name, {A: "A", AAAA: "AAAA"}.get(kind, kind), flush=True)
    names, ttl = zone(path)
    what = names.get(name)
    if what is None:
        code, records = 3, []
    elif "silent" in what or ("silent6" in what and kind == AAAA):
        return None
    elif "garbage" in what:
        return query[:2] + b"\xff" * 30
    elif "servfail" in what or "refused" in what:
        code, records = (2 if "servfail" in what else 5), []
    else:
        ips = [ipaddress.ip_address(word) for word in what if ":" in word or "." in word]
        version = {A: 4, AAAA: 6}.get(kind)
        code, records = 0, [ip.packed for ip in ips if ip.version == version]
    head = query[:2] + struct.pack(">HHHHH", 0x8180 | code, 1, len(records), 0, 0)
    answers = [struct.pack(">HHHIH", 0xC00C, kind, 1, ttl, len(it)) + it for it in records]
    return head + echo + b"".join(answers)


def truncated(answer):
    """The answer without records, with the bit TC."""
    at = 12
    while answer[at]:
        at += 1 + answer[at]
    flags, = struct.unpack_from(">H", answer, 2)
    return answer[:2] + struct.pack(">HHHHH", flags | 0x200, 1, 0, 0, 0) + answer[12 : at + 5]


def serve_stream(stream, path):
    with stream, stream.makefile("rb") as requests:
        while len(head := requests.read(2)) == 2:
            answer = reply(requests.read(struct.unpack(">H", head)[0]), path)
            if answer is not None:
                stream.sendall(struct.pack(">H", len(answer)) + answer)


def serve_tcp(server, path):
    while True:
        stream, _ = server.accept()
        threading.Thread(target=serve_stream, args=(stream, path), daemon=True).start()


def main():
    address, path = sys.argv[1:]
    streams = socket.create_server((address, 53))
    threading.Thread(target=serve_tcp, args=(streams, path), daemon=True).start()
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind((address, 53))
    while True:
        query, peer = server.recvfrom(4096)
        answer = reply(query, path)
        if answer is not None:
            server.sendto(answer if len(answer) <= 512 else truncated(answer), peer)


main()
