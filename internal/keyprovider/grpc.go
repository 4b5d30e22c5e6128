package keyprovider

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
)

// MaxMessage bounds a message, as gRPC's own libraries do.
const MaxMessage = 4 << 20

// The service of ocicrypt's utils/keyprovider/keyprovider.proto.
const (
	WrapPath   = "/keyprovider.KeyProviderService/WrapKey"
	UnwrapPath = "/keyprovider.KeyProviderService/UnWrapKey"
)

// Statuses of gRPC (https://grpc.github.io/grpc/core/md_doc_statuscodes.html).
const (
	statusOK              = 0
	statusInvalidArgument = 3
	statusDenied          = 7
	statusTooMuch         = 8
	statusUnimplemented   = 12
	statusInternal        = 13
)

// Handler speaks gRPC over HTTP/2: unary calls are a message behind five bytes,
// and a status in the trailer, so that no library of it is needed
// (https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md).
func (p Provider) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		kind, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
		if r.ProtoMajor != 2 || r.Method != http.MethodPost || kind != "application/grpc" && kind != "application/grpc+proto" {
			http.Error(w, "want gRPC", http.StatusUnsupportedMediaType)
			return
		}
		w.Header().Set("Content-Type", "application/grpc")
		answer, err := p.call(r)
		if err == nil {
			_, _ = w.Write(frame(answer)) // nobody is left to be told
		}
		w.Header().Set(http.TrailerPrefix+"Grpc-Status", strconv.Itoa(status(err)))
		if err != nil {
			w.Header().Set(http.TrailerPrefix+"Grpc-Message", escape(err.Error()))
		}
	})
}

var (
	errUnimplemented = errors.New("unknown method")
	errTooMuch       = fmt.Errorf("a message has at most %d bytes", MaxMessage)
)

func status(err error) int {
	switch {
	case err == nil:
		return statusOK
	case errors.Is(err, ErrMessage):
		return statusInvalidArgument
	case errors.Is(err, ErrDenied):
		return statusDenied
	case errors.Is(err, errTooMuch):
		return statusTooMuch
	case errors.Is(err, errUnimplemented):
		return statusUnimplemented
	}
	return statusInternal
}

func (p Provider) call(r *http.Request) ([]byte, error) {
	want, ok := map[string]string{WrapPath: opWrap, UnwrapPath: opUnwrap}[r.URL.Path]
	if !ok {
		return nil, fmt.Errorf("%.80q: %w", r.URL.Path, errUnimplemented)
	}
	raw, err := readFrame(r.Body)
	if err != nil {
		return nil, err
	}
	m, err := parse(raw)
	if err == nil && m.Op != want {
		err = fmt.Errorf("%w: op is %.20q, want %s", ErrMessage, m.Op, want)
	}
	if err != nil {
		return nil, err
	}
	return p.Answer(r.Context(), raw)
}

// readFrame reads the one message of a unary call, and its one field.
func readFrame(r io.Reader) ([]byte, error) {
	var head [5]byte // whether it is compressed, and its length
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, fmt.Errorf("%w: it is shorter than its head", ErrMessage)
	}
	size := binary.BigEndian.Uint32(head[1:])
	if size > MaxMessage {
		return nil, errTooMuch
	}
	if head[0] != 0 {
		return nil, fmt.Errorf("%w: it is compressed, which was not offered", ErrMessage)
	}
	raw, err := io.ReadAll(io.LimitReader(r, int64(size)+1))
	if err != nil {
		return nil, err
	}
	if len(raw) != int(size) {
		return nil, fmt.Errorf("%w: its head says %d bytes", ErrMessage, size)
	}
	return field(raw)
}

// field is the last value of field 1, of bytes; others are skipped
// (https://protobuf.dev/programming-guides/encoding).
func field(raw []byte) (value []byte, err error) {
	for len(raw) > 0 {
		number, kind, n := protowire.ConsumeTag(raw)
		if n < 0 {
			return nil, fmt.Errorf("%w: %w", ErrMessage, protowire.ParseError(n))
		}
		raw = raw[n:]
		if number == 1 && kind == protowire.BytesType {
			value, n = protowire.ConsumeBytes(raw)
		} else {
			n = protowire.ConsumeFieldValue(number, kind, raw)
		}
		if n < 0 {
			return nil, fmt.Errorf("%w: %w", ErrMessage, protowire.ParseError(n))
		}
		raw = raw[n:]
	}
	return value, nil
}

func frame(message []byte) []byte {
	body := protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), message)
	head := binary.BigEndian.AppendUint32([]byte{0}, uint32(len(body)))
	return append(head, body...)
}

// escape is the percent-encoding of a status message.
func escape(s string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		if c >= ' ' && c <= '~' && c != '%' {
			b.WriteByte(c)
			continue
		}
		fmt.Fprintf(&b, "%%%02X", c)
	}
	return b.String()
}
