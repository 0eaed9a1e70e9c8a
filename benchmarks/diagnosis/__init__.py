"""Does `headrace why` name the right cause? Faults in a simulated fleet, found or not."""
