package api

import (
	"bufio"
	"encoding/json"
	"io"
)

// maxAuditLine is more than an entry has.
const maxAuditLine = 1 << 20

// ReadAudit reads an audit log, oldest first. A line that a crash cut off is
// left out: nobody was told of what it recorded.
func ReadAudit(log io.Reader, read func(AuditEntry)) error {
	lines := bufio.NewScanner(log)
	lines.Buffer(nil, maxAuditLine)
	for lines.Scan() {
		var e AuditEntry
		if json.Unmarshal(lines.Bytes(), &e) == nil {
			read(e)
		}
	}
	return lines.Err()
}
