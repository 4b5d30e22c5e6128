package supervise

import (
	"bufio"
	"errors"
	"io"
	"os"
	"sync"
	"time"
)

// maxLine is where a line that does not end is cut, as the journal does.
const maxLine = 48 << 10

// outputs are where the processes of a service write.
type outputs struct {
	stdout, stderr *os.File // that processes are given
	reader         *os.File // nil: nobody listens
	copying        sync.WaitGroup
}

func newOutputs(p Process, line func(string)) (o *outputs, err error) {
	o = &outputs{}
	umask := 0o022
	if p.UMask != nil {
		umask = *p.UMask
	}
	if o.stdout, err = p.Stdout.open(umask); err != nil {
		return nil, err
	}
	o.stderr = o.stdout
	if p.Stderr != (Output{}) && p.Stderr != p.Stdout {
		if o.stderr, err = p.Stderr.open(umask); err != nil {
			return nil, errors.Join(err, closeAll(o.stdout))
		}
	}
	if o.stdout != nil && o.stderr != nil {
		return o, nil
	}
	reader, writer, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, closeAll(o.stdout, o.stderr))
	}
	o.reader = reader
	if o.stdout == nil {
		o.stdout = writer
	}
	if o.stderr == nil {
		o.stderr = writer
	}
	o.copying.Go(func() { copyLines(reader, line) })
	return o, nil
}

func closeAll(files ...*os.File) error {
	var errs []error
	for i, f := range files {
		if f != nil && (i == 0 || f != files[0]) {
			errs = append(errs, f.Close())
		}
	}
	return errors.Join(errs...)
}

// copyLines tells each line; those that are too long are cut.
func copyLines(r io.Reader, tell func(string)) {
	lines := bufio.NewReaderSize(r, maxLine)
	for {
		line, err := lines.ReadSlice('\n')
		if n := len(line); n > 0 && line[n-1] == '\n' {
			line = line[:n-1]
			tell(string(line))
		} else if n > 0 {
			tell(string(line))
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return
		}
	}
}

// close waits for the last lines, but not for a process that outlives its
// service.
func (o *outputs) close() {
	_ = closeAll(o.stdout, o.stderr)
	if o.reader == nil {
		return
	}
	_ = o.reader.SetReadDeadline(time.Now().Add(time.Second))
	o.copying.Wait()
	_ = o.reader.Close()
}
