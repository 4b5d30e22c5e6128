package squashfs

import (
	"cmp"
	"context"
	"crypto/sha256"
	"io"
	"math"
	"sync"
)

// fileData is where a file's bytes lie: whole blocks one after another, and
// what is left in a fragment block that it shares with other files.
type fileData struct {
	size   int64
	start  int64
	blocks []uint32
	end
}

// inode is the part of a file's inode that follows what all kinds have.
func (f *fileData) inode(links, attrs uint32) (kind uint16, raw []byte) {
	if links == 1 && attrs == noXattrs && f.start <= math.MaxUint32 && f.size <= math.MaxUint32 {
		kind = typeFile
		raw = le.AppendUint32(nil, uint32(f.start))
		raw = le.AppendUint32(raw, f.fragment)
		raw = le.AppendUint32(raw, f.offset)
		raw = le.AppendUint32(raw, uint32(f.size))
	} else {
		kind = typeFile + extended
		raw = le.AppendUint64(nil, uint64(f.start))
		raw = le.AppendUint64(raw, uint64(f.size))
		raw = le.AppendUint64(raw, 0) // no holes
		raw = le.AppendUint32(raw, links)
		raw = le.AppendUint32(raw, f.fragment)
		raw = le.AppendUint32(raw, f.offset)
		raw = le.AppendUint32(raw, attrs)
	}
	for _, size := range f.blocks {
		raw = le.AppendUint32(raw, size)
	}
	return kind, raw
}

// An end is where the last bytes of a file lie.
type end struct {
	fragment, offset uint32
}

// A fragmentBlock is a block that holds the ends of several files.
type fragmentBlock struct {
	start int64
	size  uint32
}

// data writes blocks in order while several are being compressed.
type data struct {
	ctx   context.Context
	w     io.WriterAt
	at    int64 // where the next block goes; owned by the goroutine until close
	cache Cache

	codec     *codec
	slots     chan struct{} // one for each worker
	queue     chan *block
	done      chan struct{}
	err       error // set before done closes
	failed    context.CancelFunc
	workers   sync.WaitGroup
	tail      []byte // the open fragment block
	fragments []*fragmentBlock
	ends      map[[32]byte]end // by their content
}

// A block on its way.
type block struct {
	raw     []byte
	sum     [32]byte
	packed  []byte
	isReady chan struct{}
	placed  func(start int64, size uint32)
}

func newData(ctx context.Context, w io.WriterAt, c *codec, o Options) *data {
	d := &data{
		w: w, at: superSize, cache: o.Cache, codec: c, slots: make(chan struct{}, c.workers),
		queue: make(chan *block, 2*c.workers), done: make(chan struct{}), ends: map[[32]byte]end{},
	}
	d.ctx, d.failed = context.WithCancel(ctx)
	go d.place()
	return d
}

// add takes the bytes of one file.
func (d *data) add(f *fileData, r io.Reader, size int64) error {
	f.size, f.fragment = size, noFragment
	whole := size / blockSize
	f.blocks = make([]uint32, whole)
	for i := range whole {
		raw := make([]byte, blockSize)
		if _, err := io.ReadFull(r, raw); err != nil {
			return err
		}
		if err := d.submit(raw, f.placed(int(i))); err != nil {
			return err
		}
	}
	return d.addEnd(f, r, int(size%blockSize))
}

func (f *fileData) placed(i int) func(int64, uint32) {
	return func(start int64, size uint32) {
		if i == 0 {
			f.start = start
		}
		f.blocks[i] = size
	}
}

// addEnd puts what is left of a file into the open fragment block, unless the
// same bytes are in one already.
func (d *data) addEnd(f *fileData, r io.Reader, size int) error {
	if size == 0 {
		return nil
	}
	raw := make([]byte, size)
	if _, err := io.ReadFull(r, raw); err != nil {
		return err
	}
	sum := sha256.Sum256(raw)
	if same, ok := d.ends[sum]; ok {
		f.end = same
		return nil
	}
	if len(d.tail)+size > blockSize {
		if err := d.flushTail(); err != nil {
			return err
		}
	}
	f.end = end{uint32(len(d.fragments)), uint32(len(d.tail))}
	d.ends[sum] = f.end
	d.tail = append(d.tail, raw...)
	return nil
}

func (d *data) flushTail() error {
	if len(d.tail) == 0 {
		return nil
	}
	f, raw := &fragmentBlock{}, d.tail
	d.fragments, d.tail = append(d.fragments, f), make([]byte, 0, blockSize)
	return d.submit(raw, func(start int64, size uint32) { f.start, f.size = start, size })
}

// submit compresses raw in the background; placed is called in the order of
// submission.
func (d *data) submit(raw []byte, placed func(int64, uint32)) error {
	b := &block{raw: raw, isReady: make(chan struct{}), placed: placed}
	select {
	case d.slots <- struct{}{}:
	case <-d.ctx.Done():
		return d.ctx.Err()
	}
	d.workers.Go(func() {
		defer func() { <-d.slots; close(b.isReady) }()
		d.pack(b)
	})
	select {
	case d.queue <- b:
		return nil
	case <-d.ctx.Done():
		return d.ctx.Err()
	}
}

// pack compresses b, or finds it done already.
func (d *data) pack(b *block) {
	b.sum = sha256.Sum256(b.raw)
	if d.cache != nil {
		if packed := d.cache.Get(b.sum); packed != nil && d.codec.unpacksTo(packed, b.raw) {
			b.packed = packed
			return
		}
	}
	b.packed = d.codec.pack(b.raw)
}

// place writes the blocks. After an error it only waits for those that are
// still coming.
func (d *data) place() {
	defer close(d.done)
	for b := range d.queue {
		<-b.isReady
		if d.err != nil {
			continue
		}
		if d.err = d.placeOne(b); d.err != nil {
			d.failed()
		}
	}
}

func (d *data) placeOne(b *block) error {
	stored, size := b.packed, uint32(len(b.packed))
	if len(b.packed) >= len(b.raw) {
		stored, size = b.raw, uint32(len(b.raw))|rawBlock
	} else if d.cache != nil {
		if err := d.cache.Put(b.sum, b.packed); err != nil {
			return err
		}
	}
	b.placed(d.at, size)
	n, err := d.w.WriteAt(stored, d.at)
	d.at += int64(n)
	return err
}

// close waits until everything is written.
func (d *data) close() error {
	flushErr := d.flushTail()
	close(d.queue)
	<-d.done
	d.workers.Wait()
	d.failed()
	return cmp.Or(d.err, flushErr)
}

func (d *data) fragmentTable() (raw []byte) {
	for _, f := range d.fragments {
		raw = le.AppendUint64(raw, uint64(f.start))
		raw = le.AppendUint32(raw, f.size)
		raw = le.AppendUint32(raw, 0)
	}
	return raw
}
