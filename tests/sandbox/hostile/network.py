# expect: accepted
import socket

escaped = []
for family in range(46):
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW, socket.SOCK_SEQPACKET):
        try:
            socket.socket(family, kind)
            escaped.append((family, kind))
        except OSError:
            pass
print("escaped" if escaped else "contained", *escaped)
