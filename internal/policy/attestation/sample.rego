# Evidence that anybody can make: the kind sample of Confidential Containers, for
# tests. A broker takes it only when it was started with
# --accept-sample-evidence-for-tests, and says so in each line of its log.
#
# Nothing is measured, so all that counts is that the configuration was
# authorised; and nothing is affirmed beyond what the word may be given.
package policy

import rego.v1

kinds contains "sample"

trusted contains "sample" if input.claims.debug == false

# The resource policy wants a vector that affirms: this one says that the
# configuration is known, and nothing of programs, hardware or memory.
affirmed["sample"] := {
	"instance-identity": 0,
	"configuration": 2,
	"executables": 0,
	"file-system": 0,
	"hardware": 0,
	"runtime-opaque": 0,
	"storage-opaque": 0,
	"sourced-data": 0,
}
