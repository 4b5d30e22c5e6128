package upstream

import (
	"fmt"
	"io"
	"time"
)

// floor gives up on a body that comes too slowly: a server that sends a byte
// now and then must not hold a transfer for ever. Only the time that it lets
// us wait counts.
type floor struct {
	io.ReadCloser
	slowest int64 // bytes a second
	now     func() time.Time

	waited time.Duration // since the window began
	came   int64         // bytes since then
}

// window is over what the speed is measured.
const window = 30 * time.Second

func (f *floor) Read(p []byte) (int, error) {
	began := f.now()
	n, err := f.ReadCloser.Read(p)
	f.waited += f.now().Sub(began)
	f.came += int64(n)
	if f.waited < window || err != nil {
		return n, err
	}
	if float64(f.came) < f.waited.Seconds()*float64(f.slowest) {
		return n, fmt.Errorf("only %d bytes came in %v", f.came, f.waited.Round(time.Second))
	}
	f.waited, f.came = 0, 0
	return n, nil
}
