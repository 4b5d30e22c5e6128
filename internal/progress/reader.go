package progress

import "io"

// Reader returns r, moving step by every byte that is read.
func Reader(r io.Reader, step Step) io.Reader { return &reader{r, step} }

type reader struct {
	io.Reader
	step Step
}

func (r *reader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	r.step.Add(int64(n))
	return n, err
}
