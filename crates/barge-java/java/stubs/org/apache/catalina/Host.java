package org.apache.catalina;

public interface Host extends Container {}
