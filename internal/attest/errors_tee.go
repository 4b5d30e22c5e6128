package attest

import "errors"

// Why evidence of a confidential machine is refused, beside what it has in
// common with a TPM's.
var (
	ErrLaunchData = errors.New("init-data is not the document that the machine was launched with")
	ErrPlatform   = errors.New("certificate is not for this chip at this firmware level")
	ErrPrivilege  = errors.New("report was asked for by less than the most privileged level of the machine")
	ErrCollateral = errors.New("collateral to judge the evidence by is missing or out of date")
	ErrFirmware   = errors.New("the firmware is at no level that its maker stands by")
	ErrBinding    = errors.New("the report vouches for another attestation key")
)
