package devmapper

import (
	"encoding/binary"
	"fmt"
)

// Layout of struct dm_ioctl and struct dm_target_spec.
const (
	offDataSize    = 12
	offDataStart   = 16
	offTargetCount = 20
	offFlags       = 28
	offDevice      = 40
	offName        = 48
	nameSize       = 128
	headerSize     = 312
	specSize       = 40
	typeSize       = 16
)

// A request is the header of an ioctl and the targets that follow it.
type request struct {
	name    string
	flags   uint32
	targets []Target
}

func (r request) marshal() ([]byte, error) {
	if len(r.name) == 0 || len(r.name) >= nameSize {
		return nil, fmt.Errorf("device name %q: want 1 to %d bytes", r.name, nameSize-1)
	}
	b := make([]byte, headerSize)
	le := binary.NativeEndian
	le.PutUint32(b, 4) // the interface's major version; 4.0.0 asks for nothing newer
	le.PutUint32(b[offDataStart:], headerSize)
	le.PutUint32(b[offTargetCount:], uint32(len(r.targets)))
	le.PutUint32(b[offFlags:], r.flags)
	copy(b[offName:], r.name)
	for _, t := range r.targets {
		if len(t.Type) >= typeSize {
			return nil, fmt.Errorf("target type %q: want at most %d bytes", t.Type, typeSize-1)
		}
		b = t.append(b)
	}
	le.PutUint32(b[offDataSize:], uint32(len(b)))
	return b, nil
}

// append adds the spec, then the parameters as a C string, padded so that the
// next spec is aligned.
func (t Target) append(b []byte) []byte {
	le := binary.NativeEndian
	size := (specSize + len(t.Params) + 1 + 7) &^ 7
	spec := make([]byte, size)
	le.PutUint64(spec, t.Start)
	le.PutUint64(spec[8:], t.Length)
	le.PutUint32(spec[20:], uint32(size)) // where the next begins, from here
	copy(spec[24:24+typeSize], t.Type)
	copy(spec[specSize:], t.Params)
	return append(b, spec...)
}
