package guest

import (
	"io"
	"os"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"

	"holdfast/internal/api"
)

// lastWords adds the file that the container may leave a message for its host in.
func (g *guest) lastWords(b *bundle, binds []specs.Mount) ([]specs.Mount, error) {
	if g.message == "" {
		return binds, nil
	}
	f, err := os.OpenFile(b.path("message"), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o666)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := f.Chmod(0o666); err != nil { // for whichever user it has
		return nil, err
	}
	return append(binds, bind(f.Name(), g.message, "noexec")), nil
}

// message is what it left. What is not text would not get through as it is.
func (b *bundle) message() string {
	f, err := os.Open(b.path("message"))
	if err != nil {
		return "" // there is none
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, api.MaxMessage))
	if err != nil {
		return ""
	}
	return strings.ToValidUTF8(string(text), "\uFFFD")
}
