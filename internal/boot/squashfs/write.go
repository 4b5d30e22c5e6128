package squashfs

import (
	"archive/tar"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"time"
)

const (
	superSize     = 96
	blockSize     = 1 << blockLog
	blockLog      = 18
	zstdID        = 6
	noXattrs      = math.MaxUint32
	rawBlock      = 1 << 24 // in a data block's size: it is stored as it is
	deviceBlock   = 4096    // the whole is padded to it
	flagNoXattrs  = 0x0200
	flagDuplicate = 0x0040 // files with the same content share it
)

// Options say how to write. The zero value is useful.
type Options struct {
	// Date is every file's time and the file system's.
	Date time.Time
	// Mode of the root, which a tar stream may leave out; by default 0755.
	RootMode uint32
	// Workers compress; by default as many as there are processors. They
	// change no byte.
	Workers int
	// Cache knows blocks that were compressed before. It may be nil.
	Cache Cache
}

// A Cache keeps compressed blocks. A Writer believes it nothing: what Get
// returns is unpacked and compared first.
type Cache interface {
	// Get returns what compresses to the block whose SHA-256 is sum, or nil.
	Get(sum [32]byte) []byte
	// Put is called once for every compressed block of the new file, in order.
	Put(sum [32]byte, packed []byte) error
}

// Write reads the tar stream r to its end and writes a squashfs of it, padded
// to 4 KiB, to w. It returns the size. The stream's times are ignored, names
// are relative to the root, and a file must come after its directory and
// before links to it.
func Write(ctx context.Context, w io.WriterAt, r io.Reader, o Options) (int64, error) {
	c, err := newCodec(o.Workers)
	if err != nil {
		return 0, err
	}
	defer c.close()
	t := newTree(o.RootMode)
	d := newData(ctx, w, c, o)
	readErr := read(t, d, tar.NewReader(r))
	if err := d.close(); err != nil {
		return 0, err
	}
	if readErr != nil {
		return 0, readErr
	}
	out := &writer{w: w, at: d.at, codec: c, date: uint32(o.Date.Unix())}
	out.attrs.pairs.codec = c
	return out.finish(t, d)
}

func read(t *tree, d *data, r *tar.Reader) error {
	for {
		h, err := r.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		n, err := t.add(h)
		if err != nil {
			return fmt.Errorf("/%s: %w", h.Name, err)
		}
		if n == nil || h.Typeflag != tar.TypeReg {
			continue
		}
		if err := d.add(&n.file, r, h.Size); err != nil {
			return fmt.Errorf("/%s: %w", h.Name, err)
		}
	}
}

// A writer writes the tables behind the data.
type writer struct {
	w     io.WriterAt
	at    int64
	codec *codec
	date  uint32
	ids   ids
	attrs xattrs
}

func (w *writer) finish(t *tree, d *data) (int64, error) {
	t.number()
	inodes, dirs, root, err := w.inodes(t)
	if err != nil {
		return 0, err
	}
	s := superblock{
		Magic: magic, Inodes: uint32(t.count), Time: w.date, BlockSize: blockSize, Fragments: uint32(len(d.fragments)),
		Compression: zstdID, BlockLog: blockLog, Flags: flagDuplicate, IDs: uint16(len(w.ids.list)), Major: 4,
		Root: root, XattrTable: absent, FragmentTable: absent, Exports: absent,
	}
	s.InodeTable = uint64(w.at)
	if err := w.write(inodes.bytes()); err != nil {
		return 0, err
	}
	s.DirTable = uint64(w.at)
	if err := w.write(dirs.bytes()); err != nil {
		return 0, err
	}
	if len(d.fragments) > 0 {
		if s.FragmentTable, err = w.lookup(d.fragmentTable()); err != nil {
			return 0, err
		}
	}
	if s.IDTable, err = w.lookup(w.ids.table()); err != nil {
		return 0, err
	}
	if w.attrs.empty() {
		s.Flags |= flagNoXattrs
	} else if s.XattrTable, err = w.xattrTables(); err != nil {
		return 0, err
	}
	return w.seal(&s)
}

// seal pads the file and writes the superblock, which makes it one.
func (w *writer) seal(s *superblock) (int64, error) {
	s.Used = uint64(w.at)
	if rest := w.at % deviceBlock; rest != 0 {
		if err := w.write(make([]byte, deviceBlock-rest)); err != nil {
			return 0, err
		}
	}
	raw, err := binary.Append(nil, le, s)
	if err != nil {
		return 0, err
	}
	_, err = w.w.WriteAt(raw, 0)
	return w.at, err
}

func (w *writer) write(b []byte) error {
	n, err := w.w.WriteAt(b, w.at)
	w.at += int64(n)
	return err
}

// lookup writes a table as metadata blocks and, behind them, where each begins;
// a reader starts there.
func (w *writer) lookup(table []byte) (uint64, error) {
	var index []byte
	for len(table) > 0 {
		n := min(metaSize, len(table))
		index = le.AppendUint64(index, uint64(w.at))
		if err := w.write(w.codec.appendMeta(nil, table[:n])); err != nil {
			return 0, err
		}
		table = table[n:]
	}
	start := uint64(w.at)
	return start, w.write(index)
}
